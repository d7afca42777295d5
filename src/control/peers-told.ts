import { fieldManagers, peersToldName, systemNamespace } from '../api/names.ts';
import { Reflector } from '../kube/cache/reflector.ts';
import type { KubeClient } from '../kube/client/client.ts';
import { isOlder } from '../kube/client/resource-version.ts';
import type { Clock } from '../kube/clock.ts';
import type { ConfigMap } from '../kube/objects.ts';
import type { Log } from '../telemetry/log.ts';

export interface PeersToldOptions {
  readonly client: Pick<KubeClient, 'list' | 'watch' | 'patch' | 'apply'>;
  /** Of this replica: the name of its pod. */
  readonly instance: string;
  /** Whether there is such a pod of control. */
  readonly isThere: (instance: string) => boolean;
  /** The resourceVersion of MeshNodes of which all clients of this replica have been told; undefined: of none. */
  readonly own: () => string | undefined;
  /** The versions that somebody waits for, and until when, ms of the clock's `monotonic`. */
  readonly awaited: () => { readonly versions: ReadonlySet<string>; readonly deadline: number };
  /** All clients of all replicas have been told of this. */
  readonly settle: (version: string | undefined) => void;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
}

const path = `/api/v1/namespaces/${systemNamespace}/configmaps`;

/** Between two writes, and after one that failed, ms. */
const betweenMs = 100;
const retryMs = 1_000;

/**
 * How far all peers have been told, over all replicas (docs/adr/0015). Each replica says in the ConfigMap `tulle-peers-told`, under its own
 * name, of what all its clients have been told; only while somebody waits for more.
 */
export class PeersTold {
  readonly #options: PeersToldOptions;
  readonly #reflector: Reflector<ConfigMap>;
  #written: string | undefined;
  #writing = false;
  #isDue = false;
  #limit: NodeJS.Timeout | undefined;
  #signal: AbortSignal | undefined;

  constructor(options: PeersToldOptions) {
    this.#options = options;
    const { client, log } = options;
    const query = { fieldSelector: `metadata.name=${peersToldName}` };
    this.#reflector = new Reflector<ConfigMap>({ client, path, query, log });
    this.#reflector.onEvent(() => this.check());
  }

  /** Resolves once the others know that this replica is to be waited for, or cannot be told. */
  async start(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.#reflector.start(signal);
    signal.addEventListener('abort', () => clearTimeout(this.#limit), { once: true });
    await this.#write('0');
  }

  async stopped(): Promise<void> {
    await this.#reflector.stopped();
  }

  /** What clients have been told, or who waits, may have changed: looked at once for all that comes in one turn. */
  check(): void {
    if (this.#signal === undefined || this.#signal.aborted || this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#look();
    });
  }

  #look(): void {
    const { own, settle, awaited, clock } = this.#options;
    clearTimeout(this.#limit);
    const words = this.#words();
    const before = awaited().versions;
    // To ask all clients what they have been told takes time, and is of use only where somebody waits.
    if (this.#written !== undefined && before.size === 0 && !words.some((word) => isOlder(this.#written, word))) return;
    const told = own();
    // Before it settles anything here: others may wait for the same.
    this.#writeIfDue(told, before, words);
    settle(lowest(told, words));
    const { versions, deadline } = awaited();
    if (versions.size === 0 || this.#signal?.aborted === true) return;
    this.#limit = setTimeout(() => this.check(), Math.max(deadline - clock.monotonic(), 0)).unref();
  }

  /** Where somebody waits here for more than the others have heard of, or another replica has said more. */
  #writeIfDue(told: string | undefined, awaited: ReadonlySet<string>, words: readonly string[]): void {
    const written = this.#written;
    if (written === undefined) return void this.#write(told ?? '0');
    if (told === undefined || !isOlder(written, told)) return;
    const isAwaited = [...awaited].some((version) => !isOlder(told, version) && isOlder(written, version));
    if (isAwaited || words.some((word) => isOlder(written, word))) void this.#write(told);
  }

  /** Of the other replicas that are there. */
  #words(): string[] {
    const { instance, isThere } = this.#options;
    const words = Object.entries(this.#data());
    return words.filter(([name]) => name !== instance && isThere(name)).map(([, version]) => version);
  }

  #data(): Readonly<Record<string, string>> {
    return this.#reflector.store.list()[0]?.data ?? {};
  }

  async #write(version: string): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    let pauseMs = betweenMs;
    try {
      await this.#put(version);
      this.#written = version;
    } catch (error) {
      this.#options.log.warn({ err: error }, 'other replicas cannot be told of what clients of this one know');
      pauseMs = retryMs;
    }
    setTimeout(() => {
      this.#writing = false;
      this.check();
    }, pauseMs).unref();
  }

  /** Each replica owns its own word. Those of replicas that are gone are taken out with it. */
  async #put(version: string): Promise<void> {
    const { client, instance, isThere } = this.#options;
    const names = Object.keys(this.#data());
    const gone = names.filter((name) => name !== instance && !isThere(name)).map((name) => [name, null] as const);
    if (gone.length > 0) await client.patch(`${path}/${peersToldName}`, { data: Object.fromEntries(gone) });
    // Nothing else under its name, so that nothing is left of it when its word is taken out.
    const metadata = { name: peersToldName, namespace: systemNamespace };
    const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { [instance]: version } };
    await client.apply(configMap, { fieldManager: `${fieldManagers.control}/${instance}`, force: true });
  }
}

/** Of this replica's word and those of the others. */
function lowest(own: string | undefined, words: readonly string[]): string | undefined {
  return words.reduce((least, word) => (isOlder(word, least) ? word : least), own);
}
