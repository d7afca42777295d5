/**
 * How much of what is labelled into the mesh really is in it: counts and the condition Enrolled of the Mesh, from the
 * MeshNodes.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Mesh } from '../../api/mesh.ts';
import type { MeshNode } from '../../api/mesh-node.ts';
import { meshName } from '../../api/names.ts';
import type { DesiredCondition } from '../../kube/conditions.ts';
import { done, type Reconcile, requeueAfter, type Source, source } from '../../kube/controller/reconciler.ts';
import type { Namespace } from '../../kube/objects.ts';
import { concernsWriters } from '../../kube/status.ts';
import { isMemberNamespace } from '../../model/membership.ts';
import type { Caches } from '../caches.ts';
import type { OperatorContext } from '../context.ts';
import { conditionFor } from '../mesh/acceptance.ts';
import { some } from '../mesh/rollout.ts';
import { reportMesh } from '../mesh/status.ts';
import { labelProblem } from '../namespaces/labels.ts';
import type { EnrolmentIndex } from './pod-index.ts';

/** Every agent and control replica watches the Mesh, so its status is written at most so often, ms. */
const WRITE_EVERY_MS = 1_000;

const writer = 'enrolment';

export function enrolmentSources({ meshes, meshNodes, namespaces }: Caches): Source[] {
  const mesh = () => [meshName];
  return [
    source(meshes, ({ metadata }) => [metadata.name], concernsWriters),
    source(meshNodes, mesh, hasOtherPods),
    source(namespaces, mesh),
  ];
}

function hasOtherPods({ status: before }: MeshNode, { status: after }: MeshNode): boolean {
  return !isDeepStrictEqual(before?.pods, after?.pods);
}

export function reconcileEnrolment(context: OperatorContext): Reconcile {
  const { caches, clock } = context;
  let writtenAt = Number.NEGATIVE_INFINITY;
  return async (key) => {
    const mesh = caches.meshes.store.get(key);
    if (mesh === undefined || key !== meshName || mesh.metadata.deletionTimestamp !== undefined) return done;
    const left = writtenAt + WRITE_EVERY_MS - clock.monotonic();
    if (left > 0) return requeueAfter(left);
    const all = caches.namespaces.store.list();
    const namespaces = all.filter(({ metadata }) => isMemberNamespace(metadata)).length;
    const pods = caches.enrolment.total();
    const condition = enrolled(mesh, namespaces, caches.enrolment, all.flatMap(mislabelled));
    const part = { enrolment: { namespaces, pods }, conditions: [condition] };
    if (await reportMesh(context, mesh, part, writer)) writtenAt = clock.monotonic();
    return done;
  };
}

/**
 * The condition Enrolled. With nothing labelled it is False: whoever waits for it has just labelled something. Pods that
 * opted out, and namespaces whose label is a mistake (`name (Reason)`), do not make it False, and are named in any case.
 */
export function enrolled(
  mesh: Mesh,
  namespaces: number,
  index: EnrolmentIndex,
  mistakes: readonly string[] = [],
): DesiredCondition {
  const pods = index.total();
  const more = leftInPlaintext(pods.optedOut, index) + mistaken(mistakes);
  const say = (status: DesiredCondition['status'], reason: string, message: string) =>
    conditionFor(mesh, 'Enrolled')(status, reason, `${message}${more}`);
  const all = pods.secured + pods.pending + pods.failed;
  if (pods.failed > 0) {
    const named = index.firstProblems(6).map(({ namespace, name, reason }) => `${namespace}/${name} (${reason})`);
    const problems = some(named, 5, pods.failed);
    return say('False', 'PodsNotSecured', `${pods.failed} of ${all} pods are outside the mesh: ${problems}.`);
  }
  if (pods.pending > 0)
    return say('False', 'PodsPending', `${pods.pending} of ${all} pods are on their way into the mesh or out of it.`);
  if (all === 0) {
    return say('False', 'NothingEnrolled', nothing(namespaces, pods.optedOut));
  }
  return say('True', 'AllSecured', `All ${all} pods are secured.`);
}

/** A namespace that its label does not bring in, though somebody meant something by it. */
function mislabelled(namespace: Namespace): string[] {
  const problem = labelProblem(namespace);
  return problem === undefined ? [] : [`${namespace.metadata.name} (${problem.reason})`];
}

function mistaken(namespaces: readonly string[]): string {
  if (namespaces.length === 0) return '';
  const has = namespaces.length === 1 ? '1 namespace has' : `${namespaces.length} namespaces have`;
  return ` ${has} a label that cannot be used, see the Events there: ${some(namespaces, 5)}.`;
}

function nothing(namespaces: number, optedOut: number): string {
  if (namespaces === 0) return 'No namespace is labelled into the mesh.';
  return optedOut > 0 ? 'No pod is in the mesh.' : 'No pod is reported by any node yet.';
}

function leftInPlaintext(optedOut: number, index: EnrolmentIndex): string {
  if (optedOut === 0) return '';
  const named = index.firstOptedOut(6).map(({ namespace, name }) => `${namespace}/${name}`);
  return ` ${optedOut} ${optedOut === 1 ? 'pod has opted out and is' : 'pods have opted out and are'} left in plaintext: ${some(named, 5, optedOut)}.`;
}
