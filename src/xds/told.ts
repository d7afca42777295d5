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
  }

  /** The version that is shown by what was told up to `revision`; undefined where that is nothing. */
  through(revision: number): string | undefined {
    while (this.#marks.length > 1 && (this.#marks[1]?.revision ?? Number.POSITIVE_INFINITY) <= revision)
      this.#marks.shift();
    const [first] = this.#marks;
    return first !== undefined && first.revision <= revision ? first.version : undefined;
  }
}
