/**
 * A Namespace: the trust bundle is in it while it is enrolled, and Events on it tell whoever labelled it how that went.
 */
import { annotations, fieldManagers, meshName, systemNamespace, trustBundle } from '../../api/names.ts';
import { applyIfChanged } from '../../kube/client/server-side-apply.ts';
import { done, isOfSpec, type Reconcile, type Source, sooner, source } from '../../kube/controller/reconciler.ts';
import type { ConfigMap, Manifest, Namespace } from '../../kube/objects.ts';
import { isMemberNamespace } from '../../model/membership.ts';
import { appliedHashAnnotation, selectorLabels } from '../../render/ownership.ts';
import type { Caches } from '../caches.ts';
import { deleteObject, type OperatorContext } from '../context.ts';
import { EnrolmentAnnouncer } from '../enrolment/announcer.ts';
import { OptOutAnnouncer } from '../enrolment/opt-out-announcer.ts';
import { labelProblem } from './labels.ts';

export function namespaceSources({ meshes, meshNodes, namespaces, bundles }: Caches): Source[] {
  const all = () => namespaces.store.keys();
  return [
    source(namespaces, ({ metadata }) => [metadata.name]),
    source(meshNodes, ({ status }) => new Set((status?.pods ?? []).map(({ namespace }) => namespace))),
    source(meshes, ({ metadata }) => (metadata.name === meshName ? all() : []), isOfSpec),
    source(bundles, ({ metadata }) => {
      const { namespace = '' } = metadata;
      return namespace === systemNamespace ? all() : [namespace];
    }),
  ];
}

export function reconcileNamespace(context: OperatorContext): Reconcile {
  const announcer = new EnrolmentAnnouncer(context);
  const optOuts = new OptOutAnnouncer(context);
  return async (key, signal) => {
    const { caches, events } = context;
    const namespace = caches.namespaces.store.get(key);
    const mesh = caches.meshes.store.get(meshName);
    if (namespace === undefined) announcer.forget(key);
    if (namespace === undefined || mesh?.metadata.deletionTimestamp !== undefined) optOuts.forget(key);
    if (namespace === undefined) return done;
    if (mesh?.metadata.deletionTimestamp !== undefined) return announcer.announceLeft(namespace, true);
    const problem = mesh === undefined ? undefined : labelProblem(namespace);
    if (problem !== undefined) await events.record(namespace, problem);
    const enrolled = mesh !== undefined && isMemberNamespace(namespace.metadata);
    await keepBundle(context, namespace, enrolled, signal);
    if (enrolled) return sooner(await announcer.announce(namespace), await optOuts.announce(namespace));
    optOuts.forget(key);
    return announcer.announceLeft(namespace);
  };
}

async function keepBundle(
  context: OperatorContext,
  { metadata, status }: Namespace,
  enrolled: boolean,
  signal: AbortSignal,
): Promise<void> {
  if (metadata.name === systemNamespace || status?.phase === 'Terminating') return;
  const { client, caches } = context;
  const copy = caches.bundles.store.get(`${metadata.name}/${trustBundle.configMapName}`);
  const original = caches.bundles.store.get(`${systemNamespace}/${trustBundle.configMapName}`);
  if (!enrolled) {
    if (copy !== undefined && isOurCopy(copy)) await deleteObject(context, copy, signal);
    return;
  }
  if (original === undefined) return;
  signal.throwIfAborted();
  const options = { client, fieldManager: fieldManagers.operator, hashAnnotation: appliedHashAnnotation };
  await applyIfChanged(copyOf(original, metadata.name), copy, options);
}

function isOurCopy({ metadata }: ConfigMap): boolean {
  return metadata.annotations?.[appliedHashAnnotation] !== undefined;
}

function copyOf(original: ConfigMap, namespace: string): Manifest {
  const sha256 = original.metadata.annotations?.[annotations.bundleSha256];
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: trustBundle.configMapName,
      namespace,
      labels: selectorLabels(trustBundle.configMapName),
      ...(sha256 === undefined ? {} : { annotations: { [annotations.bundleSha256]: sha256 } }),
    },
    data: { [trustBundle.key]: original.data?.[trustBundle.key] ?? '' },
  };
}
