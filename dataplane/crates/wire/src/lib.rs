//! The wire: messages and services generated from `proto/`, by package.
#![allow(clippy::all, clippy::unwrap_used, clippy::expect_used)]

pub mod discovery {
    tonic::include_proto!("envoy.service.discovery.v3");
}
pub mod workload {
    tonic::include_proto!("istio.workload");
}
pub mod security {
    tonic::include_proto!("istio.security");
}
pub mod ca {
    tonic::include_proto!("istio.v1.auth");
}
pub mod zds {
    tonic::include_proto!("istio.workload.zds");
}

/// Type URL of [`workload::Address`] resources.
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of [`security::Authorization`] resources.
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";
