import type { Image } from '../images/images.ts';
import { run } from '../process.ts';

/** What the demo needs of a cluster, whichever way it was made. */
export interface DemoCluster {
  readonly name: string;
  readonly kubeconfig: string;
  /** The folder of a kubectl that fits the cluster; undefined when the user has one. */
  readonly kubectlFolder: string | undefined;
  /** The names of the nodes on which pods run. */
  readonly nodes: readonly string[];
  kubectl(...args: string[]): Promise<string>;
  /** Applies manifests given as YAML or JSON text. */
  apply(manifests: string): Promise<string>;
  loadImages(images: readonly Image[]): Promise<void>;
  /** What to put before a command of this machine so that it runs in the node's network namespace. */
  inNetworkOf(node: string): Promise<readonly string[]>;
}

/** The ways of making the demo's cluster. */
export interface ClusterKind {
  /** Starts a fresh cluster in place of an earlier one. */
  start(): Promise<DemoCluster>;
  remove(): Promise<void>;
}

/** Runs a kubectl of this machine against a cluster. */
export function kubectlOf(
  kubectl: string,
  kubeconfig: string,
): (args: readonly string[], input?: string) => Promise<string> {
  return (args, input) => run(kubectl, ['--kubeconfig', kubeconfig, ...args], input === undefined ? {} : { input });
}
