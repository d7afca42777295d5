/** What this operator installs: one version of everything, named by two images. */
export interface Release {
  /** Semantic version, for example 0.1.0. */
  version: string;
  /** Operator, control and CLI. */
  image: string;
  /** Agent, proxy and CNI plugin. */
  nodeImage: string;
}
