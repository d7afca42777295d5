//! The standard labels of layer 4 metrics, as dashboards know them. Borrowed for each connection;
//! owned once by a series.
use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

use crate::spiffe::SpiffeId;
use crate::state::{Service, Workload};

/// Which end of the connection reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
}

/// What tells one series from another. Text that is not known is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels<Text> {
    pub reporter: Reporter,
    pub source: EndLabels<Text>,
    pub destination: EndLabels<Text>,
    pub service: ServiceLabels<Text>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndLabels<Text> {
    owner: Text,
    canonical_name: Text,
    canonical_revision: Text,
    namespace: Text,
    cluster: Text,
    /// The identity it proved.
    principal: Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceLabels<Text> {
    hostname: Text,
    namespace: Text,
    name: Text,
}

impl<'a> EndLabels<&'a str> {
    pub fn new(workload: Option<&'a Workload>, identity: Option<&'a SpiffeId>) -> Self {
        let named = workload.map(|workload| Self {
            owner: &workload.owner,
            canonical_name: &workload.canonical_name,
            canonical_revision: &workload.canonical_revision,
            namespace: &workload.namespace,
            cluster: &workload.cluster,
            principal: "",
        });
        Self {
            principal: identity.map_or("", SpiffeId::as_str),
            ..named.unwrap_or_default()
        }
    }
}

impl<'a> From<Option<&'a Service>> for ServiceLabels<&'a str> {
    fn from(service: Option<&'a Service>) -> Self {
        let named = service.map(|service| Self {
            hostname: &service.id.hostname,
            namespace: &service.id.namespace,
            name: &service.name,
        });
        named.unwrap_or_default()
    }
}

impl Labels<&str> {
    /// Those of connections whose ends are not told apart any more.
    pub fn of_anybody(reporter: Reporter) -> Self {
        Self {
            reporter,
            source: EndLabels::default(),
            destination: EndLabels::default(),
            service: ServiceLabels::default(),
        }
    }
}

impl<Text> Labels<Text> {
    fn map<'a, To>(&'a self, text: impl Fn(&'a Text) -> To) -> Labels<To> {
        let end = |end: &'a EndLabels<Text>| EndLabels {
            owner: text(&end.owner),
            canonical_name: text(&end.canonical_name),
            canonical_revision: text(&end.canonical_revision),
            namespace: text(&end.namespace),
            cluster: text(&end.cluster),
            principal: text(&end.principal),
        };
        Labels {
            reporter: self.reporter,
            source: end(&self.source),
            destination: end(&self.destination),
            service: ServiceLabels {
                hostname: text(&self.service.hostname),
                namespace: text(&self.service.namespace),
                name: text(&self.service.name),
            },
        }
    }
}

impl Labels<Box<str>> {
    pub fn new(borrowed: &Labels<&str>) -> Self {
        borrowed.map(|text| Box::from(*text))
    }

    pub fn borrowed(&self) -> Labels<&str> {
        self.map(|text| &**text)
    }
}

impl EncodeLabelSet for Labels<&str> {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> Result<(), fmt::Error> {
        let Self {
            reporter,
            source,
            destination,
            service,
        } = self;
        let is_secured = !source.principal.is_empty() && !destination.principal.is_empty();
        let reporter = match reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        [
            ("reporter", reporter),
            ("source_workload", known(source.owner)),
            ("source_canonical_service", known(source.canonical_name)),
            (
                "source_canonical_revision",
                known(source.canonical_revision),
            ),
            ("source_workload_namespace", known(source.namespace)),
            ("source_principal", known(source.principal)),
            ("source_app", known(source.canonical_name)),
            ("source_version", known(source.canonical_revision)),
            ("source_cluster", known(source.cluster)),
            ("destination_service", known(service.hostname)),
            ("destination_service_namespace", known(service.namespace)),
            ("destination_service_name", known(service.name)),
            ("destination_workload", known(destination.owner)),
            (
                "destination_canonical_service",
                known(destination.canonical_name),
            ),
            (
                "destination_canonical_revision",
                known(destination.canonical_revision),
            ),
            (
                "destination_workload_namespace",
                known(destination.namespace),
            ),
            ("destination_principal", known(destination.principal)),
            ("destination_app", known(destination.canonical_name)),
            ("destination_version", known(destination.canonical_revision)),
            ("destination_cluster", known(destination.cluster)),
            ("request_protocol", "tcp"),
            ("response_flags", "-"),
            (
                "connection_security_policy",
                if is_secured { "mutual_tls" } else { "unknown" },
            ),
        ]
        .encode(encoder)
    }
}

fn known(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}
