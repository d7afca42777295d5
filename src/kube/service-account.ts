import type { Pod } from './objects.ts';

/** The annotation of a pod object that stands for a pod the kubelet runs from its own configuration. */
export const mirrorAnnotation = 'kubernetes.io/config.mirror';

/**
 * The ServiceAccount a pod runs as; undefined when it has none. The API server gives every pod one but for mirror pods,
 * which a kubelet writes into any namespace it likes: nothing follows from the namespace of such a pod, `default` least
 * of all.
 */
export function serviceAccountOf({ metadata, spec }: Pod): string | undefined {
  if (metadata.annotations?.[mirrorAnnotation] !== undefined) return undefined;
  return spec?.serviceAccountName || undefined;
}
