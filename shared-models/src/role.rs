//! What a member of a tenant may do.

crate::text_enum! {
    /// A member's role, weakest first, so that `role >= Role::Admin` reads as it should.
    pub enum Role {
        /// Reads, never writes.
        Viewer = "viewer",
        /// Creates and edits what is theirs.
        Member = "member",
        /// Runs the tenant: members, keys, tenant credentials, settings.
        Admin = "admin",
        /// May also delete the tenant and change owners.
        Owner = "owner",
    }
}
