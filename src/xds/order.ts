/**
 * In which order a change reaches a client: ADR 10. A workload is never told before the policies it relies on, and a
 * policy is never taken back before the workloads that name it have stopped naming it.
 */
import { addressType, authorizationType, type TypeUrl } from './resource.ts';
import type { News } from './response.ts';

export interface Step {
  readonly type: TypeUrl;
  /** Which part of the type's news: resources that are there, names of those that are gone, or both. */
  readonly tells: 'Present' | 'Gone' | 'Everything';
}

/** Each step is taken when the client has answered the ones before it. */
export const order: readonly Step[] = [
  { type: authorizationType, tells: 'Present' },
  { type: addressType, tells: 'Everything' },
  { type: authorizationType, tells: 'Gone' },
];

/**
 * Types that are told only to a client that hears everything of another type too, as long as there is any of that: who
 * knows a workload and not its policies would let everybody in.
 */
export const guards: ReadonlyMap<TypeUrl, TypeUrl> = new Map([[addressType, authorizationType]]);

/** What was read at one instant, as messages in the order they are to be told. */
export function inOrder(news: ReadonlyMap<TypeUrl, News>): readonly News[] {
  return order.flatMap(({ type, tells }) => {
    const all = news.get(type);
    return all === undefined ? [] : partOf(all, tells);
  });
}

/** An answer that says nothing goes where resources would: the client waits for it. */
function partOf(news: News, tells: Step['tells']): readonly News[] {
  const { resources, removed } = news;
  switch (tells) {
    case 'Everything':
      return [news];
    case 'Present':
      return resources.length > 0 || removed.length === 0 ? [{ ...news, removed: [] }] : [];
    case 'Gone':
      return removed.length > 0 ? [{ ...news, resources: [] }] : [];
  }
}
