import { isDeepStrictEqual } from 'node:util';
import type { KubeClient } from './client/client.ts';
import { firstDifference } from './client/server-side-apply.ts';
import type { Clock } from './clock.ts';
import { conditionsFor, conditionTime, type DesiredCondition, findCondition } from './conditions.ts';
import { isOfSpec } from './controller/reconciler.ts';
import type { Condition, KubeObject, Manifest } from './objects.ts';

/** A kind whose status has conditions. */
export interface WithStatus extends KubeObject {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined };
}

/**
 * The part of a status that one field manager writes. It must always give the same fields: what it leaves out, apply takes
 * away.
 */
export type StatusPart<T extends WithStatus> = Omit<Partial<NonNullable<T['status']>>, 'conditions'> & {
  readonly conditions: readonly DesiredCondition[];
};

/** What to apply so that `part` is in the status of `object`; undefined where it is. @param now ms since the epoch */
export function statusChange<T extends WithStatus>(object: T, part: StatusPart<T>, now: number): Manifest | undefined {
  const { conditions: desired, ...fields } = part;
  const { apiVersion = '', kind = '', metadata, status } = object;
  const conditions = conditionsFor(status?.conditions, desired, conditionTime(now));
  const isThere = (condition: Condition) =>
    firstDifference(condition, findCondition(status?.conditions, condition.type)) === undefined;
  if (conditions.every(isThere) && firstDifference(fields, status ?? {}) === undefined) return undefined;
  return { apiVersion, kind, metadata: { name: metadata.name }, status: { ...fields, conditions } };
}

/** Applies a part of the status where it is not so already, and says whether it wrote. */
export async function applyStatus<T extends WithStatus>(
  client: Pick<KubeClient, 'applyStatus'>,
  clock: Pick<Clock, 'now'>,
  object: T,
  part: StatusPart<T>,
  fieldManager: string,
): Promise<boolean> {
  const change = statusChange(object, part, clock.now());
  if (change !== undefined) await client.applyStatus(change, { fieldManager, force: true });
  return change !== undefined;
}

/**
 * Whether those who write the status have to look at the object again: something else is asked for, or somebody took away
 * what was there. What is added to its status wakes nobody: it was written by one of them.
 */
export function concernsWriters(before: WithStatus, after: WithStatus): boolean {
  const finalizers = ({ metadata }: KubeObject) => metadata.finalizers ?? [];
  return (
    isOfSpec(before, after) ||
    !isDeepStrictEqual(finalizers(before), finalizers(after)) ||
    writtenIn(before).some((part) => !writtenIn(after).includes(part))
  );
}

/** Fields of the status, and types of conditions. */
function writtenIn({ status }: WithStatus): string[] {
  return [...Object.keys(status ?? {}), ...(status?.conditions ?? []).map(({ type }) => type)];
}
