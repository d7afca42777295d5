import type { Reflector } from '../kube/cache/reflector.ts';
import { objectKey, type Pod } from '../kube/objects.ts';
import { MultiMap } from '../model/multi-map.ts';

/** The watched pods, also by the node they are bound to. */
export class PodsByNode {
  readonly #pods: Reflector<Pod>;
  readonly #keys = new MultiMap<string, string>();

  /** Before the reflector starts. */
  constructor(pods: Reflector<Pod>) {
    this.#pods = pods;
    pods.onEvent((event) => {
      const previous = event.type === 'modified' ? event.old : event.object;
      const key = objectKey(event.object);
      this.#keys.delete(nodeOf(previous), key);
      if (event.type !== 'deleted') this.#keys.add(nodeOf(event.object), key);
    });
  }

  /** By `namespace/name`. */
  get(key: string): Pod | undefined {
    return this.#pods.store.get(key);
  }

  onNode(node: string): Pod[] {
    return [...this.#keys.get(node)].map((key) => this.get(key)).filter((pod) => pod !== undefined);
  }
}

function nodeOf(pod: Pod): string {
  return pod.spec?.nodeName ?? '';
}
