use std::future::Future;
use std::net::IpAddr;

use http::StatusCode;

/// Whether a caller may read metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Allowed,
    /// The token is nobody's.
    Unauthenticated,
    /// Its user may not.
    Forbidden,
    /// Nobody can tell now.
    Unknown,
}

/// Who decides.
pub trait Authorize: Send + Sync + 'static {
    /// Decides about the bearer token of a caller at `from`.
    fn authorize(&self, token: &str, from: IpAddr) -> impl Future<Output = Access> + Send;
}

impl<A: Authorize> Authorize for std::sync::Arc<A> {
    async fn authorize(&self, token: &str, from: IpAddr) -> Access {
        A::authorize(self, token, from).await
    }
}

impl Access {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Allowed => StatusCode::OK,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::OK => Self::Allowed,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            _ => Self::Unknown,
        }
    }

    /// What is missing, and what to do.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::Allowed => "",
            Self::Unauthenticated => {
                "Send the token of a service account: Authorization: Bearer TOKEN\n"
            }
            Self::Forbidden => {
                "Your user may not \"get\" the path /metrics: bind the ClusterRole tulle-metrics-reader to it.\n"
            }
            Self::Unknown => "The API server does not say now who you are. Try again.\n",
        }
    }
}
