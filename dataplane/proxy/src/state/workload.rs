//! Workloads as connections see them.
use std::collections::HashMap;
use std::net::IpAddr;

use tulle_names::DEFAULT_TRUST_DOMAIN;
use tulle_wire::workload as wire;

use super::service::{ServiceName, Waypoint, known, parse_ports, parse_waypoint};
use crate::resource::{ResourceError, parse_ip};
use crate::spiffe::{SpiffeId, TrustDomain};

/// How a workload is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Plaintext,
    Hbone,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub subzone: String,
}

/// Of a workload that is on its way into the mesh or out of it (docs/adr/0015).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// `namespace/name` of the policies that do not apply to plaintext meanwhile: from members where it
    /// is on its way in, from anybody where it is leaving.
    pub exempt_policies: Vec<String>,
    pub leaving: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub identity: SpiffeId,
    pub addresses: Vec<IpAddr>,
    pub network: String,
    pub protocol: Protocol,
    pub transition: Option<Transition>,
    pub waypoint: Option<Waypoint>,
    pub node: String,
    pub cluster: String,
    pub host_network: bool,
    pub healthy: bool,
    pub locality: Locality,
    /// Share of a service's connections, relative to its other endpoints.
    pub weight: u32,
    /// The owner's name, as dashboards know it.
    pub owner: String,
    pub canonical_name: String,
    pub canonical_revision: String,
    /// `namespace/name` of the policies that select this workload.
    pub policies: Vec<String>,
    /// Service to its ports here.
    pub services: HashMap<ServiceName, HashMap<u16, u16>>,
}

impl Workload {
    /// In the mesh, or on its way into it.
    pub fn is_member(&self) -> bool {
        self.protocol == Protocol::Hbone || self.is_enrolling()
    }

    /// On its way into the mesh: peers do not all know yet that it is reached by the tunnel.
    pub fn is_enrolling(&self) -> bool {
        self.transition
            .as_ref()
            .is_some_and(|transition| !transition.leaving)
    }

    /// # Errors
    /// When a field is malformed or holds a value this proxy does not know.
    pub fn parse(workload: wire::Workload) -> Result<Self, ResourceError> {
        if workload.uid.is_empty() {
            return Err(ResourceError::Empty { field: "uid" });
        }
        let domain: TrustDomain = or(&workload.trust_domain, DEFAULT_TRUST_DOMAIN).parse()?;
        let account = or(&workload.service_account, "default");
        let locality = workload.locality.unwrap_or_default();
        let status: wire::WorkloadStatus = known("status", workload.status)?;
        Ok(Self {
            identity: SpiffeId::service_account(&domain, &workload.namespace, account)?,
            addresses: workload
                .addresses
                .iter()
                .map(|bytes| parse_ip(bytes, "addresses"))
                .collect::<Result<_, _>>()?,
            protocol: match known("tunnel_protocol", workload.tunnel_protocol)? {
                wire::TunnelProtocol::None => Protocol::Plaintext,
                wire::TunnelProtocol::Hbone => Protocol::Hbone,
                // Taking it for plaintext would be to fail open.
                other @ wire::TunnelProtocol::LegacyIstioMtls => {
                    let value = i64::from(other as i32);
                    return Err(ResourceError::Unknown {
                        field: "tunnel_protocol",
                        value,
                    });
                }
            },
            transition: workload.transition.map(|transition| Transition {
                exempt_policies: transition.exempt_policies,
                leaving: transition.leaving,
            }),
            waypoint: workload.waypoint.map(parse_waypoint).transpose()?,
            host_network: known::<wire::NetworkMode>("network_mode", workload.network_mode)?
                == wire::NetworkMode::HostNetwork,
            healthy: status == wire::WorkloadStatus::Healthy,
            locality: Locality {
                region: locality.region,
                zone: locality.zone,
                subzone: locality.subzone,
            },
            weight: workload.capacity.unwrap_or(1),
            owner: or(&workload.workload_name, &workload.name).to_owned(),
            services: workload
                .services
                .iter()
                .map(|(name, ports)| {
                    let name = ServiceName::parse(name)
                        .ok_or(ResourceError::Empty { field: "services" })?;
                    Ok((name, parse_ports(&ports.ports)?))
                })
                .collect::<Result<_, ResourceError>>()?,
            uid: workload.uid,
            name: workload.name,
            namespace: workload.namespace,
            network: workload.network,
            node: workload.node,
            cluster: workload.cluster_id,
            canonical_name: workload.canonical_name,
            canonical_revision: workload.canonical_revision,
            policies: workload.authorization_policies,
        })
    }
}

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(uid: &str) -> wire::Workload {
        wire::Workload {
            uid: uid.into(),
            namespace: "shop".into(),
            addresses: vec![vec![10, 0, 0, 1].into()],
            ..Default::default()
        }
    }

    #[test]
    fn empty_fields_have_their_meaning() {
        let workload = Workload::parse(wire("u")).unwrap();
        assert_eq!(
            workload.identity.as_str(),
            "spiffe://cluster.local/ns/shop/sa/default"
        );
        assert_eq!(workload.protocol, Protocol::Plaintext);
        assert_eq!(workload.weight, 1);
        assert!(workload.healthy);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let refused = |change: fn(&mut wire::Workload)| {
            let mut workload = wire("u");
            change(&mut workload);
            Workload::parse(workload).unwrap_err().to_string()
        };
        assert!(refused(|w| w.uid.clear()).contains("uid"));
        assert!(refused(|w| w.addresses = vec![vec![1, 2, 3].into()]).contains("addresses"));
        assert!(refused(|w| w.tunnel_protocol = 2).contains("tunnel_protocol"));
        assert!(refused(|w| w.tunnel_protocol = 9).contains("tunnel_protocol"));
        assert!(refused(|w| w.namespace = "a/sa/b".into()).contains("identity"));
        assert!(refused(|w| w.trust_domain = "Upper".into()).contains("identity"));
        assert!(
            refused(|w| drop(w.services.insert("nohost".into(), Default::default())))
                .contains("services")
        );
    }
}
