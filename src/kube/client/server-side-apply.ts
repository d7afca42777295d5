import { createHash } from 'node:crypto';
import type { KubeObject, Manifest } from '../objects.ts';
import { isInvalid } from './api-error.ts';
import type { KubeClient } from './client.ts';

export interface ApplyIfChangedOptions {
  client: Pick<KubeClient, 'apply' | 'patch' | 'pathOf'>;
  fieldManager: string;
  /** The annotation that carries the hash of what was applied last. */
  hashAnnotation: string;
}

/**
 * Applies `desired` where `live` is not what it asks for already, and says whether it wrote. Two things are compared:
 * each field of `desired` with the live object (somebody changed it), and the hash noted on the live object with the
 * hash of `desired` (we ask for something else than last time: only so a field that we no longer ask for is noticed).
 */
export async function applyIfChanged(
  desired: Manifest,
  live: KubeObject | undefined,
  { client, fieldManager, hashAnnotation }: ApplyIfChangedOptions,
): Promise<boolean> {
  const hashed = withHash(desired, hashAnnotation);
  const difference = live === undefined ? 'all of it' : firstDifference(hashed, live);
  if (difference === undefined) return false;
  const applied = await applyOverOthers(client, hashed, live, fieldManager);
  return live === undefined || applied.metadata.resourceVersion !== live.metadata.resourceVersion;
}

/**
 * Apply merges lists by key, and leaves in them what others added; where that makes the object invalid (the same port
 * name twice), the lists of others give way: a merge patch replaces them by ours.
 */
async function applyOverOthers(
  client: ApplyIfChangedOptions['client'],
  object: Manifest,
  live: KubeObject | undefined,
  fieldManager: string,
): Promise<KubeObject> {
  const apply = () => client.apply(object, { fieldManager, force: true });
  try {
    return await apply();
  } catch (error) {
    if (live === undefined || !isInvalid(error)) throw error;
    const { apiVersion: _version, kind: _kind, metadata: _metadata, ...fields } = object;
    await client.patch(await client.pathOf(object), fields, { fieldManager });
    return apply();
  }
}

/** The manifest with an annotation that holds the SHA-256 of the rest. */
export function withHash(manifest: Manifest, annotation: string): Manifest {
  const hash = createHash('sha256').update(stableJson(manifest)).digest('hex').slice(0, 32);
  const annotations = { ...manifest.metadata.annotations, [annotation]: hash };
  return { ...manifest, metadata: { ...manifest.metadata, annotations } };
}

/**
 * The path of the first field of `desired` that `live` does not have alike, undefined when there is none. Fields only
 * `live` has (defaults, other writers) do not count; an empty value equals an absent one, since the API server drops
 * it.
 */
export function firstDifference(desired: unknown, live: unknown, path = ''): string | undefined {
  if (isEmpty(desired) && (live === undefined || isEmpty(live))) return undefined;
  if (Array.isArray(desired)) {
    if (!Array.isArray(live) || live.length !== desired.length) return path;
    return first(desired.keys(), (index) => firstDifference(desired[index], live[index], `${path}[${index}]`));
  }
  if (isRecord(desired)) {
    if (!isRecord(live)) return path;
    return first(Object.keys(desired), (key) => firstDifference(desired[key], live[key], `${path}.${key}`));
  }
  return desired === live ? undefined : path;
}

function first<K>(keys: Iterable<K>, difference: (key: K) => string | undefined): string | undefined {
  for (const key of keys) {
    const found = difference(key);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) && Object.values(value).every((field) => field === undefined);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON with sorted keys, so that equal manifests have equal hashes. */
export function stableJson(value: unknown): string {
  return JSON.stringify(value, (_key, field: unknown) =>
    isRecord(field) ? Object.fromEntries(Object.entries(field).sort(([a], [b]) => (a < b ? -1 : 1))) : field,
  );
}
