import type { KubeClient } from '../kube/client.ts';
import type { ServerFeatures } from '../render/server-features.ts';

interface ResourceList {
  resources?: readonly { name: string }[];
}

/** What the API server offers, by its discovery documents. It is asked once: an operator that restarts finds more. */
export async function serverFeatures(client: Pick<KubeClient, 'find'>): Promise<ServerFeatures> {
  for (const version of ['v1', 'v1beta1'] as const) {
    const list = await client.find<ResourceList>(`/apis/admissionregistration.k8s.io/${version}`);
    if (list?.resources?.some(({ name }) => name === 'mutatingadmissionpolicies'))
      return { mutatingAdmission: version };
  }
  return { mutatingAdmission: undefined };
}
