import type { KubeClient } from '../../kube/client/client.ts';
import { done, type Reconcile, requeueAfter, type Source } from '../../kube/controller/reconciler.ts';
import type { ServerFeatures } from '../../render/server-features.ts';

interface ResourceList {
  resources?: readonly { name: string }[];
}

/** How soon to ask again whether the API server offers the same, ms: it may be upgraded, or downgraded, while the operator runs. */
const ASK_AGAIN_MS = 600_000;

/** What the API server offers, by its discovery documents. */
export async function serverFeatures(client: Pick<KubeClient, 'find'>): Promise<ServerFeatures> {
  for (const version of ['v1', 'v1beta1'] as const) {
    const list = await client.find<ResourceList>(`/apis/admissionregistration.k8s.io/${version}`);
    if (list?.resources?.some(({ name }) => name === 'mutatingadmissionpolicies'))
      return { mutatingAdmission: version };
  }
  return { mutatingAdmission: undefined };
}

/** One key, which is looked at whenever this replica comes to lead. */
export const serverFeatureSources: readonly Source[] = [
  { reflector: { path: 'discovery', hasSynced: true }, connect: () => {}, seed: () => ['server'] },
];

/**
 * Which kinds there are caches of is settled when the operator starts: one that finds the API server to offer other ones has to
 * start anew.
 * @param onOthers is called once then
 */
export function reconcileServerFeatures(
  client: Pick<KubeClient, 'find'>,
  known: ServerFeatures,
  onOthers: (found: ServerFeatures) => void,
): Reconcile {
  return async () => {
    const found = await serverFeatures(client);
    if (found.mutatingAdmission === known.mutatingAdmission) return requeueAfter(ASK_AGAIN_MS);
    onOthers(found);
    return done;
  };
}
