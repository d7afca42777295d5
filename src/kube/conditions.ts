import type { Condition } from './objects.ts';

/** A condition as decided, before it is known since when it holds. */
export type DesiredCondition = Omit<Condition, 'lastTransitionTime'>;

/**
 * The conditions to write for `decided`, given those that are there: `lastTransitionTime` moves only where `status`
 * changes. `now` is RFC 3339. Conditions of other writers are not in the result: apply merges them by type.
 */
export function conditionsFor(
  existing: readonly Condition[] | undefined,
  decided: readonly DesiredCondition[],
  now: string,
): Condition[] {
  return decided.map((condition) => {
    const before = existing?.find(({ type }) => type === condition.type);
    const lastTransitionTime = before?.status === condition.status ? before.lastTransitionTime : now;
    return { ...condition, lastTransitionTime };
  });
}

/** The condition of this type, if any. */
export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** An RFC 3339 time without fractions, as conditions carry it. */
export function conditionTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
