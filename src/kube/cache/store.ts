import { type KubeObject, objectKey } from '../objects.ts';

/** The objects of one reflector, as last seen, by `namespace/name` or `name`. Callers must not change what they get. */
export class Store<T extends KubeObject> {
  readonly #objects = new Map<string, T>();

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  keys(): string[] {
    return [...this.#objects.keys()];
  }

  /** For the reflector only. */
  set(object: T): void {
    this.#objects.set(objectKey(object), object);
  }

  /** For the reflector only. */
  remove(key: string): void {
    this.#objects.delete(key);
  }
}
