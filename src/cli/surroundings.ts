/** What a command may touch besides the cluster. */
export interface Surroundings {
  readonly env: Readonly<NodeJS.ProcessEnv>;
  /** To standard output. */
  readonly write: (text: string) => void;
  /** ms since the epoch. */
  readonly now: () => number;
}
