/** So many are remembered; forgetting the oldest only delays. */
const maxMarks = 1024;

/**
 * From revisions of a store, which clients are told, to versions of the cluster, which are the same for every replica: how far
 * all clients have been told.
 */
export class Told {
  /** In order. Whoever has been told of the revision has been told of the version. */
  readonly #marks: { readonly revision: number; readonly version: string }[] = [];

  /** As of `revision` the store shows what was so at `version`. */
  mark(revision: number, version: string): void {
    const last = this.#marks.at(-1);
    if (last?.version === version) return;
    if (last?.revision === revision) this.#marks.pop();
    this.#marks.push({ revision, version });
    if (this.#marks.length > maxMarks) this.#marks.splice(0, this.#marks.length - maxMarks);
  }

  /** The version that is shown by what was told up to `revision`; undefined where that is nothing, or not remembered. */
  through(revision: number): string | undefined {
    const told = this.#marks.findLastIndex((mark) => mark.revision <= revision);
    if (told > 0) this.#marks.splice(0, told);
    return told === -1 ? undefined : this.#marks[0]?.version;
  }
}
