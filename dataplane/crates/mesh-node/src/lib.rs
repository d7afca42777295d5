//! `MeshNode.status` as it stands on the API server: generated from the kind, and kept within its limits.
mod generated;

pub use generated::*;

impl MeshNodeStatus {
    /// Sets the pods within the limits of the kind, and counts them all.
    #[must_use]
    pub fn with_pods(mut self, pods: impl IntoIterator<Item = PodStatus>) -> Self {
        let mut counts = Counts::default();
        let mut kept = Vec::new();
        for mut pod in pods {
            match pod.state {
                PodState::Secured => counts.secured += 1,
                PodState::Pending => counts.pending += 1,
                PodState::Failed => counts.failed += 1,
                PodState::OptedOut => counts.opted_out += 1,
            }
            pod.message = pod.message.chars().take(MAX_POD_MESSAGE).collect();
            kept.push(pod);
        }
        kept.truncate(MAX_PODS);
        self.pods = kept;
        self.counts = Some(counts);
        self
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: usize) -> PodStatus {
        PodStatus {
            uid: number.to_string(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            service_account: "web".to_owned(),
            ips: Vec::new(),
            captured: false,
            state: PodState::OptedOut,
            reason: String::new(),
            message: "ä".repeat(MAX_POD_MESSAGE + 1),
            existing_connections: 0,
            since: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn pods_are_counted_all_and_listed_within_the_limits_of_the_kind() {
        let status = MeshNodeStatus::default().with_pods((0..MAX_PODS + 5).map(pod));
        assert_eq!(status.pods.len(), MAX_PODS);
        assert_eq!(status.counts.unwrap().opted_out, MAX_PODS + 5);
        assert_eq!(status.pods[0].message.chars().count(), MAX_POD_MESSAGE);
    }

    #[test]
    fn what_is_not_known_yet_is_absent_and_lists_are_always_there() {
        let empty = serde_json::json!({ "pods": [], "conditions": [] });
        let status = MeshNodeStatus::default();
        assert_eq!(serde_json::to_value(&status).unwrap(), empty);
        assert_eq!(
            serde_json::from_str::<MeshNodeStatus>("{}").unwrap(),
            status
        );
        let pod = serde_json::to_value(pod(1)).unwrap();
        for (field, value) in [
            ("serviceAccount", serde_json::json!("web")),
            ("state", serde_json::json!("OptedOut")),
            ("existingConnections", serde_json::json!(0)),
        ] {
            assert_eq!(pod[field], value, "{field}");
        }
    }
}
