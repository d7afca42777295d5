//! Who a pod is, and the certificate that proves it.
pub mod ca_client;
pub mod certificate;
pub mod manager;
pub mod renewal;
pub mod vouched;
