//! The public pages.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Method, Response, StatusCode,
        header::{
            ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::{Next, from_fn},
    routing::get,
};

/// The one style of all pages; the policy allows it by its hash.
const STYLE: &str = "body{max-width:40rem;margin:4rem auto;padding:0 1rem;font:1.1rem/1.5 system-ui,sans-serif;\
                     color:#222;background:#fff}h1{font-size:1.5rem}\
                     @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}";

/// Nothing is loaded, nothing runs, nobody frames it.
const POLICY: &str = "default-src 'none'; style-src 'sha256-cbbkfoEVfuGW8XkTrwqvu9qovu0MTFzRUVC+XtV8pFk='; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// On every response.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Whether all that the front needs is there.
pub type Health = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the pages are made of.
#[derive(Clone)]
struct Site {
    home: Arc<str>,
    not_found: Arc<str>,
    health: Health,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Site")
    }
}

/// The site of this host.
pub fn site(hostname: &str, health: Health) -> Router {
    let site = Site {
        home: page(hostname, "This is a mail server", "It runs moxd and takes mail for its own domains.")
            .into(),
        not_found: page(hostname, "Not found", "There is no such page here.").into(),
        health,
    };
    Router::new()
        .route("/", get(home))
        .route("/health", get(health_of))
        .fallback(not_found)
        .layer(from_fn(only_reading))
        .layer(from_fn(secure))
        .with_state(site)
}

async fn home(State(site): State<Site>) -> Response<Body> {
    html(StatusCode::OK, &site.home)
}

async fn not_found(State(site): State<Site>) -> Response<Body> {
    html(StatusCode::NOT_FOUND, &site.not_found)
}

/// For who watches over the host: a line of text, and 503 when the front cannot do its work.
async fn health_of(State(site): State<Site>) -> Response<Body> {
    let (status, line) = if (site.health)() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let mut response = text(status, line);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Turns away what would change something, and what brings a body: it is not read.
async fn only_reading(request: Request, next: Next) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return closing(response);
    }
    if !request.body().is_end_stream() {
        return closing(text(StatusCode::PAYLOAD_TOO_LARGE, "no body, please\n"));
    }
    next.run(request).await
}

/// What of the request is unread cannot be told from the next one.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn secure(request: Request, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn html(status: StatusCode, page: &str) -> Response<Body> {
    with_type(status, "text/html; charset=utf-8", page.to_owned())
}

fn text(status: StatusCode, line: &'static str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", line)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn page(hostname: &str, heading: &str, sentence: &str) -> String {
    let host = escape(hostname);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{host}: {heading}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{heading}</h1>\n<p>{host}: {sentence}</p>\n\
         </main>\n</body>\n</html>\n"
    )
}

/// For text between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use tower_service::Service;

    use super::*;

    async fn ask(healthy: bool, request: axum::http::request::Builder, body: Body) -> (Response<()>, String) {
        let mut site = site("mail.example", Arc::new(move || healthy));
        let response = site.call(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 100_000).await.unwrap();
        (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    fn get(path: &str) -> axum::http::request::Builder {
        axum::http::Request::get(path)
    }

    #[test]
    fn the_policy_allows_the_style_and_nothing_else() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let hash = format!("'sha256-{}'", STANDARD.encode(digest));
        assert!(POLICY.contains(&hash), "the style is {hash}");
        assert!(POLICY.starts_with("default-src 'none'"));
        assert!(!POLICY.contains("unsafe"));
    }

    #[tokio::test]
    async fn the_home_page_says_what_runs_here_and_no_version() {
        let (response, body) = ask(true, get("/"), Body::empty()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(body.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
        assert!(body.contains("mail.example") && body.contains("moxd"));
        assert!(!body.contains(env!("CARGO_PKG_VERSION")));
    }

    #[tokio::test]
    async fn health_follows_what_the_front_needs() {
        let (response, body) = ask(true, get("/health"), Body::empty()).await;
        assert_eq!((response.status().as_u16(), body.as_str()), (200, "ok\n"));
        let (response, body) = ask(false, get("/health"), Body::empty()).await;
        assert_eq!((response.status().as_u16(), body.as_str()), (503, "not ready\n"));
        assert_eq!(response.headers()["cache-control"], "no-store");
    }

    /// Attack class 34: framing, sniffing and referrers are off on every response, errors included.
    #[tokio::test]
    async fn every_response_carries_the_security_headers() {
        for (method, path, status) in [
            ("GET", "/", 200),
            ("HEAD", "/", 200),
            ("GET", "/health", 200),
            ("GET", "/nothing", 404),
            ("POST", "/", 405),
            ("DELETE", "/nothing", 405),
            ("OPTIONS", "/health", 405),
            ("TRACE", "/", 405),
            ("BREW", "/", 405),
        ] {
            let request = axum::http::Request::builder().method(method).uri(path);
            let (response, _) = ask(true, request, Body::empty()).await;
            assert_eq!(response.status(), status, "{method} {path}");
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[&name], value, "{method} {path}");
            }
            let allow = response.headers().get(ALLOW).map(|value| value.to_str().unwrap());
            assert_eq!(allow, (status == 405).then_some("GET, HEAD"), "{method} {path}");
        }
    }

    /// Attack class 34: path confusion leads nowhere.
    #[tokio::test]
    async fn strange_paths_are_not_found() {
        for path in ["/..", "/%2e%2e/", "//", "/health/", "/./health", "/index.html", "/%00", "/HEALTH"] {
            let (response, body) = ask(true, get(path), Body::empty()).await;
            assert_eq!(response.status(), 404, "{path}");
            assert!(!body.contains(path) || path == "//", "{path} came back");
        }
    }

    #[tokio::test]
    async fn bodies_are_refused_unread() {
        let (response, _) = ask(true, get("/"), Body::from("x")).await;
        assert_eq!(response.status(), 413);
        assert_eq!(response.headers()["connection"], "close");
    }

    #[test]
    fn host_names_stand_in_pages_as_text() {
        assert!(page("<b>&", "h", "s").contains("<p>&lt;b&gt;&amp;: s</p>"));
    }
}
