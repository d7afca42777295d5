//! The standard labels of layer 4 metrics, as dashboards know them.
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::identity::spiffe::SpiffeId;
use crate::state::{Service, Workload};

/// Which end of the connection reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(
    non_camel_case_types,
    reason = "the variant's name is the label's value"
)]
pub enum Reporter {
    source,
    destination,
}

/// How the connection was secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(
    non_camel_case_types,
    reason = "the variant's name is the label's value"
)]
pub enum Security {
    mutual_tls,
    unknown,
}

/// A value, or `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known(Option<String>);

impl<T: Into<String>> From<Option<T>> for Known {
    fn from(value: Option<T>) -> Self {
        Self(value.map(Into::into).filter(|text| !text.is_empty()))
    }
}

impl EncodeLabelValue for Known {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.0.as_deref().unwrap_or("unknown").encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TcpLabels {
    pub reporter: Reporter,
    pub source_workload: Known,
    pub source_canonical_service: Known,
    pub source_canonical_revision: Known,
    pub source_workload_namespace: Known,
    pub source_principal: Known,
    pub source_app: Known,
    pub source_version: Known,
    pub source_cluster: Known,
    pub destination_service: Known,
    pub destination_service_namespace: Known,
    pub destination_service_name: Known,
    pub destination_workload: Known,
    pub destination_canonical_service: Known,
    pub destination_canonical_revision: Known,
    pub destination_workload_namespace: Known,
    pub destination_principal: Known,
    pub destination_app: Known,
    pub destination_version: Known,
    pub destination_cluster: Known,
    pub request_protocol: &'static str,
    pub response_flags: &'static str,
    pub connection_security_policy: Security,
}

/// One end of a connection: what is known of its workload, and the identity it proved.
#[derive(Clone, Copy, Default)]
pub struct End<'a> {
    pub workload: Option<&'a Workload>,
    pub identity: Option<&'a SpiffeId>,
}

impl TcpLabels {
    pub fn new(reporter: Reporter, from: End<'_>, to: End<'_>, service: Option<&Service>) -> Self {
        let known =
            |end: End<'_>, field: fn(&Workload) -> &String| Known::from(end.workload.map(field));
        let principal = |end: End<'_>| Known::from(end.identity.map(SpiffeId::as_str));
        let secured = from.identity.is_some() && to.identity.is_some();
        Self {
            reporter,
            source_workload: known(from, |w| &w.owner),
            source_canonical_service: known(from, |w| &w.canonical_name),
            source_canonical_revision: known(from, |w| &w.canonical_revision),
            source_workload_namespace: known(from, |w| &w.namespace),
            source_principal: principal(from),
            source_app: known(from, |w| &w.canonical_name),
            source_version: known(from, |w| &w.canonical_revision),
            source_cluster: known(from, |w| &w.cluster),
            destination_service: Known::from(service.map(|s| &s.id.hostname)),
            destination_service_namespace: Known::from(service.map(|s| &s.id.namespace)),
            destination_service_name: Known::from(service.map(|s| &s.name)),
            destination_workload: known(to, |w| &w.owner),
            destination_canonical_service: known(to, |w| &w.canonical_name),
            destination_canonical_revision: known(to, |w| &w.canonical_revision),
            destination_workload_namespace: known(to, |w| &w.namespace),
            destination_principal: principal(to),
            destination_app: known(to, |w| &w.canonical_name),
            destination_version: known(to, |w| &w.canonical_revision),
            destination_cluster: known(to, |w| &w.cluster),
            request_protocol: "tcp",
            response_flags: "-",
            connection_security_policy: if secured {
                Security::mutual_tls
            } else {
                Security::unknown
            },
        }
    }
}
