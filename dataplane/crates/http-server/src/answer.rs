use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// An answer: status, media type, text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    media_type: &'static str,
    text: String,
}

impl Answer {
    /// What `page` has at the path that is asked for: 404 where that is nothing, 405 for other methods than GET.
    pub fn to_get<B>(request: &Request<B>, page: impl FnOnce(&str) -> Option<Self>) -> Self {
        if request.method() != Method::GET {
            return Self::not_allowed();
        }
        page(request.uri().path())
            .unwrap_or_else(|| Self::text(StatusCode::NOT_FOUND, "not found\n"))
    }

    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            media_type: TEXT,
            text: text.into(),
        }
    }

    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self {
                status: StatusCode::OK,
                media_type: JSON,
                text,
            },
            Err(err) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()),
        }
    }

    /// Metrics in the OpenMetrics format, or why there are none.
    pub fn metrics(metrics: Result<String, String>) -> Self {
        match metrics {
            Ok(text) => Self {
                status: StatusCode::OK,
                media_type: OPEN_METRICS,
                text,
            },
            Err(err) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, err),
        }
    }

    /// To a method that has no business here.
    pub fn not_allowed() -> Self {
        Self::text(StatusCode::METHOD_NOT_ALLOWED, "not allowed here\n")
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.text));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(self.media_type),
        );
        response
    }
}
