//! Which pages may connect: those of our own host, and the origins that the operator lists. Exact matches only.

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, ORIGIN};
use common::error_code::{Details, ErrorCode, Refusal};

/// The setting that lets an origin in.
pub const SETTING: &str = "SCOREBOARD__HTTP__ALLOWED_ORIGINS";

/// The origins that the operator lists.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// From the setting's list, such as `https://game.example`.
    #[must_use]
    pub fn new(origins: Vec<String>) -> Self {
        Self(origins)
    }

    /// Whether none is listed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a page of this origin is listed.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.0.iter().any(|listed| listed == origin)
    }

    /// Lets a request in: without an `Origin` (not a browser), from our own host, or from a listed origin.
    ///
    /// # Errors
    /// `origin_not_allowed`, naming the setting; `null` and look-alikes too.
    pub fn check(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
        let host = request.headers().get(HOST).and_then(|v| v.to_str().ok());
        let allowed =
            origin.to_str().is_ok_and(|origin| self.lists(origin) || host.is_some_and(|host| is_host(origin, host)));
        if allowed {
            return Ok(());
        }
        let mut refusal = Refusal::new(
            ErrorCode::OriginNotAllowed,
            format!("pages of this origin are not let in; {SETTING} lists those that are"),
        );
        refusal.details = Details::Setting(SETTING);
        Err(refusal)
    }
}

/// Whether an origin is `http(s)://host`, to the letter.
fn is_host(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    !host.is_empty() && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn check(origin: Option<&str>) -> bool {
        let mut request = TestRequest::get().insert_header((HOST, "game.example:8080"));
        if let Some(origin) = origin {
            request = request.insert_header((ORIGIN, origin));
        }
        AllowedOrigins::new(vec!["https://shop.example".into()]).check(&request.to_http_request()).is_ok()
    }

    #[test]
    fn only_our_host_and_listed_origins() {
        assert!(check(None));
        assert!(check(Some("http://game.example:8080")));
        assert!(check(Some("https://shop.example")));
        for foreign in [
            "null",
            "",
            "https://shop.example.evil",
            "https://evil/shop.example",
            "http://shop.example",
            "http://game.example",
            "game.example:8080",
        ] {
            assert!(!check(Some(foreign)), "{foreign}");
        }
    }
}
