import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../cache.ts';
import { version } from '../images/images.ts';
import type { Report } from '../steps.ts';

/** What installing needs of a cluster. */
export interface InstallTarget {
  kubectl(...args: string[]): Promise<string>;
  apply(manifests: string): Promise<string>;
}

export interface InstallImages {
  readonly tulle: string;
  readonly node: string;
}

export const builtImages: InstallImages = {
  tulle: `tulle.dev/tulle:${version}`,
  node: `tulle.dev/tulle-node:${version}`,
};

/** The operator with all it needs, as one manifest; `images` replaces the names of the images built here. */
export async function operatorManifest(target: InstallTarget, images: InstallImages = builtImages): Promise<string> {
  const manifest = await target.kubectl('kustomize', join(root, 'config'));
  return manifest.replaceAll(builtImages.tulle, images.tulle).replaceAll(builtImages.node, images.node);
}

/** Installs the operator and the Mesh of config/samples, and waits until the mesh is ready. */
export async function install(target: InstallTarget, report: Report, images?: InstallImages): Promise<void> {
  report('the operator and its kinds');
  await target.apply(await operatorManifest(target, images));
  await target.kubectl('wait', '--for=condition=Established', 'crd/meshes.mesh.tulle.dev', '--timeout=30s');
  await target.kubectl('wait', '--for=condition=Established', 'crd/meshnodes.mesh.tulle.dev', '--timeout=30s');
  await explained(target, () =>
    target.kubectl('-n', 'tulle-system', 'rollout', 'status', 'deployment/tulle-operator', '--timeout=120s'),
  );
  report('the mesh');
  await target.apply(readFileSync(join(root, 'config/samples/mesh.yaml'), 'utf8'));
  await explained(target, () => target.kubectl('wait', '--for=condition=Ready', 'mesh/default', '--timeout=180s'));
}

/** Adds to a failed wait what the cluster says of the parts that are awaited. */
async function explained(target: InstallTarget, wait: () => Promise<unknown>): Promise<void> {
  try {
    await wait();
  } catch (err) {
    const state = await target.kubectl('-n', 'tulle-system', 'get', 'pods,events', '-o', 'wide').catch(String);
    const mesh = await target.kubectl('get', 'mesh', 'default', '-o', 'yaml').catch(String);
    throw new Error(`${err instanceof Error ? err.message : String(err)}\n${state}\n${mesh}`);
  }
}
