//! What a person sees who opens the address in a browser.

use axum::response::Html;

pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE)
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Switchyard</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style></head>
<body>
<h1>Switchyard</h1>
<p>Events become agent work. The platform is running; this build has no dashboard.</p>
<ul>
<li><a href="/docs">API, to read and try</a> (<a href="/openapi.json">OpenAPI</a>)</li>
<li><a href="/errors">Error codes</a></li>
<li><a href="/readyz">Is everything ready?</a></li>
</ul>
</body>
</html>
"#;
