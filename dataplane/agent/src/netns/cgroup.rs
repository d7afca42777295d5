//! Which pod a process belongs to, from `/proc/<pid>/cgroup`.

/// The UID of the pod whose cgroup is named in `text` (any hierarchy, v1 or
/// v2, cgroupfs or systemd naming, the latter writing `-` as `_`).
pub fn pod_uid(text: &str) -> Option<String> {
    // Lines are `<hierarchy>:<controllers>:<path>`; a path may itself hold colons.
    text.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(uid_in_path)
}

fn uid_in_path(path: &str) -> Option<String> {
    path.split('/').find_map(|segment| {
        let name = segment.strip_suffix(".slice").unwrap_or(segment);
        let (before, uid) = name.rsplit_once("pod")?;
        let named_like_kubelet = before.is_empty() || before.ends_with('-');
        let uid = uid.replace('_', "-");
        (named_like_kubelet && is_uid(&uid)).then_some(uid)
    })
}

/// A pod's UID is a UUID, or for a static pod a hash without dashes.
fn is_uid(text: &str) -> bool {
    (32..=36).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "3f0c2a6e-6b1a-4a39-9d52-0a4d1c1e8f11";

    #[test]
    fn finds_the_uid_in_every_way_kubelet_names_cgroups() {
        for text in [
            format!("12:cpu,cpuacct:/kubepods/burstable/pod{UID}/0123abcd\n"),
            format!("1:name=systemd:/node1/kubepods/pod{UID}/0123abcd\n0::/\n"),
            format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-containerd-01ab.scope\n", UID.replace('-', "_")),
            format!("0::/../../kubepods-pod{}.slice/x\n", UID.replace('-', "_")),
            format!("11:memory:/system.slice/containerd.service/kubepods-burstable-pod{}.slice:cri-containerd:77\n", UID.replace('-', "_")).replace(".slice:cri", ".slice/cri"),
        ] {
            assert_eq!(pod_uid(&text).as_deref(), Some(UID), "{text}");
        }
    }

    #[test]
    fn a_static_pods_hash_is_a_uid_too() {
        assert_eq!(
            pod_uid("0::/kubepods/podabcdef0123456789abcdef0123456789/x").as_deref(),
            Some("abcdef0123456789abcdef0123456789")
        );
    }

    #[test]
    fn other_processes_belong_to_no_pod() {
        for text in [
            "",
            "0::/",
            "0::/system.slice/tripod.service",
            "0::/kubepods/burstable",
            "0::/podman/libpod-3f0c2a6e",
            "nonsense",
        ] {
            assert_eq!(pod_uid(text), None, "{text}");
        }
    }
}
