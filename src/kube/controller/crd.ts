import { readFile } from 'node:fs/promises';
import { loadYaml, type V1CustomResourceDefinition } from '@kubernetes/client-node';
import type { KubeClient } from '../client/client.ts';
import { systemClock } from '../clock.ts';
import type { KubeObject } from '../objects.ts';

interface Definition extends KubeObject {
  status?: { conditions?: { type: string; status: string }[] };
}

/** Time between looks at whether the API server serves the kind yet, ms. */
const LOOK_EVERY_MS = 200;

/**
 * Applies a CustomResourceDefinition from a YAML file and waits until it is established. Throws when `signal` aborts
 * before.
 */
export async function registerCrd(client: KubeClient, crdFile: string, fieldManager: string, signal: AbortSignal) {
  const text = await readFile(crdFile, 'utf8');
  const crd = loadYaml<V1CustomResourceDefinition>(text);
  const { name } = crd.metadata ?? {};
  if (name === undefined || !crd.apiVersion?.startsWith('apiextensions.k8s.io/')) {
    throw new Error(`${crdFile} is not a CustomResourceDefinition of apiextensions.k8s.io`);
  }
  const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`;
  // As text: client-node's objects have other field names than the API (`_default`).
  await client.applyYaml(path, text, { fieldManager, force: true });
  while (!isEstablished(await client.get<Definition>(path))) {
    signal.throwIfAborted();
    await systemClock.sleep(LOOK_EVERY_MS, signal);
  }
  return { group: crd.spec.group, versions: crd.spec.versions, plural: crd.spec.names.plural };
}

function isEstablished(crd: Definition): boolean {
  return crd.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True') ?? false;
}
