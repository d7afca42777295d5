//! What a CONNECT tells of its origin, for telemetry only: nothing is decided on it.
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};

use crate::state::Workload;
use crate::tunnel::Connect;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers of a CONNECT.
pub fn outbound(connection: &Connect<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name, value: String| {
        // Names in the mesh are ASCII; what is not stays untold.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    if let Some(workload) = connection.workload {
        set(BAGGAGE, baggage(workload));
    }
    set(FORWARDED, forwarded(connection.source_ip));
    set(TRACEPARENT, connection.trace.parent());
    headers
}

/// W3C Baggage: what the workload is called.
fn baggage(workload: &Workload) -> String {
    let members = [
        ("k8s.cluster.name", &workload.cluster),
        ("k8s.namespace.name", &workload.namespace),
        ("k8s.deployment.name", &workload.owner),
        ("service.name", &workload.canonical_name),
        ("service.version", &workload.canonical_revision),
    ];
    let members: Vec<_> = members
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", percent(value)))
        .collect();
    members.join(",")
}

/// W3C Baggage, section 3.3: what may not stand in a value is percent-encoded.
fn percent(value: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\",;\\%".contains(byte);
    value
        .bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// RFC 7239, section 6: IPv6 is quoted and in brackets.
fn forwarded(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    }
}

/// The trace id of a CONNECT, where it has a well-formed one.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    (hex(version, 2) && hex(trace, 32)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::Trace;
    use tulle_wire::workload as wire;

    #[test]
    fn a_connect_says_whom_it_is_from() {
        let workload = Workload::parse(wire::Workload {
            uid: "u".into(),
            namespace: "shop".into(),
            workload_name: "cart, the \"first\"".into(),
            cluster_id: "Kubernetes".into(),
            ..Default::default()
        })
        .unwrap();
        let connect = Connect {
            target: ([10, 0, 0, 2], 80).into(),
            workload: Some(&workload),
            source_ip: "fd00::1".parse().unwrap(),
            trace: &Trace { id: 10, span: 11 },
        };
        let headers = outbound(&connect);
        assert_eq!(
            headers["baggage"],
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart%2C%20the%20%22first%22"
        );
        assert_eq!(headers["forwarded"], "for=\"[fd00::1]\"");
        assert_eq!(
            headers["traceparent"],
            "00-0000000000000000000000000000000a-000000000000000b-00"
        );
        assert_eq!(trace_id(&headers), Some("0000000000000000000000000000000a"));
        let unknown = Connect {
            workload: None,
            ..connect
        };
        assert!(outbound(&unknown).get("baggage").is_none());
    }

    #[test]
    fn odd_trace_headers_are_ignored() {
        for value in ["", "00", "00-xyz-1-00", "00-0123-45-00", "ä"] {
            let mut headers = HeaderMap::new();
            headers.insert(
                TRACEPARENT,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
            assert_eq!(trace_id(&headers), None, "{value}");
        }
    }
}
