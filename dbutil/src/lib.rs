//! Postgres as every service uses it: two logins, tenant-scoped transactions, migrations, pages and idempotency keys.
//!
//! Invariant: tenant-owned rows are only reachable through a [`TenantTx`] (row-level security by `app.tenants`), through a
//! [`Seat`] of a writer whose groups span tenants, or, for the few cross-tenant jobs, through [`Db::system`], which says
//! why. No service connects as a superuser or owner.

mod batches;
mod blame;
mod constraint;
mod db;
pub mod idempotency;
pub mod migrate;
pub mod page;
pub mod provision;
mod seat;
mod tx;

pub use batches::Batches;
pub use blame::{is_down, is_refused, is_unstorable, within};
pub use constraint::OnConstraint;
pub use db::{Db, DbConfig, DbError};
pub use page::{Cursor, Page, PageQuery};
pub use seat::Seat;
pub use tx::{SystemTx, TenantTx, tenants_setting};
