import { KubeConfig } from '@kubernetes/client-node';
import type { Dispatcher } from 'undici';
import { type Clock, systemClock } from '../clock.ts';
import type { KubeList, KubeObject, Manifest, Status } from '../objects.ts';
import { ApiError, isConflict, isNotFound } from './api-error.ts';
import { Credentials } from './credentials.ts';
import { Discovery } from './discovery.ts';
import { type WatchEvent, watchEvents } from './watch-stream.ts';

export { ApiError, isConflict, isExpired, isForbidden, isNotFound } from './api-error.ts';
export type { WatchEvent } from './watch-stream.ts';

/** Query parameters; those that are undefined are left out. */
export type Query = Record<string, string | number | boolean | undefined>;

/** A JSON patch (RFC 6902): an array of operations; a merge patch (RFC 7386): an object. */
export type JsonPatch = readonly { op: string; path: string; value?: unknown; from?: string }[];

export interface ApplyOptions {
  fieldManager: string;
  /** Take fields over from other managers. */
  force?: boolean;
  /** Ask the server what would happen, change nothing. */
  dryRun?: boolean;
}

export interface DeleteOptions {
  /** Delete only this very object. */
  preconditions?: { uid?: string; resourceVersion?: string };
  propagationPolicy?: 'Foreground' | 'Background' | 'Orphan';
  gracePeriodSeconds?: number;
}

/** A watch without a byte for so long is taken for dead, ms. API servers send a bookmark about once a minute. */
const WATCH_IDLE_MS = 150_000;

/**
 * A client of one API server. Paths are the API's own, for example `/api/v1/namespaces/shop/pods/web-0`. All calls
 * share one dispatcher; every refusal is an ApiError, every other failure is the network's own error.
 */
export class KubeClient {
  readonly #credentials: Credentials;
  readonly #discovery: Discovery;
  readonly #userAgent: string;

  constructor(config: KubeConfig, options: { clock?: Clock; userAgent?: string } = {}) {
    this.#credentials = new Credentials(config, options.clock ?? systemClock);
    this.#userAgent = options.userAgent ?? 'tulle';
    this.#discovery = new Discovery((path) => this.get(path));
  }

  /** Credentials as kubectl finds them: `KUBECONFIG`, `~/.kube/config`, or the pod's service account. */
  static fromEnvironment(options: { userAgent?: string } = {}): KubeClient {
    const config = new KubeConfig();
    config.loadFromDefault();
    return new KubeClient(config, options);
  }

  /** Credentials of one kubeconfig file; `context` where it is not the current one. Throws when there is no such. */
  static fromFile(path: string, options: { userAgent?: string; context?: string } = {}): KubeClient {
    const config = new KubeConfig();
    config.loadFromFile(path);
    if (options.context !== undefined) {
      const contexts = config.getContexts().map(({ name }) => name);
      if (!contexts.includes(options.context)) {
        throw new Error(`it has no context ${options.context}, only ${contexts.join(', ') || 'none at all'}`);
      }
      config.setCurrentContext(options.context);
    }
    return new KubeClient(config, options);
  }

  async get<T>(path: string, query?: Query): Promise<T> {
    return this.#send<T>({ method: 'GET', path, query });
  }

  /** As `get`, but undefined where there is nothing. */
  async find<T>(path: string, query?: Query): Promise<T | undefined> {
    try {
      return await this.get<T>(path, query);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** One page of a list; pass `limit`, and `continue` for the next. Items get the kind their list implies. */
  async list<T extends KubeObject>(path: string, query?: Query): Promise<KubeList<T>> {
    // An aggregated API server written in Go may send null for an empty list.
    const { items, ...list } = await this.#send<Omit<KubeList<T>, 'items'> & { items: T[] | null }>({
      method: 'GET',
      path,
      query,
    });
    const kind = list.kind?.replace(/List$/, '');
    for (const item of items ?? []) {
      item.kind ??= kind ?? '';
      item.apiVersion ??= list.apiVersion ?? '';
    }
    return { ...list, items: items ?? [] };
  }

  /** Every page of a list, one after another. */
  async listAll<T extends KubeObject>(path: string, query?: Query): Promise<T[]> {
    const items: T[] = [];
    let next: string | undefined;
    do {
      const page = await this.list<T>(path, { limit: 500, ...query, continue: next });
      items.push(...page.items);
      next = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (next !== undefined);
    return items;
  }

  /** POST to a collection's path, or to a subresource such as `…/token`. */
  async create<T>(path: string, object: unknown, query?: Query): Promise<T> {
    return this.#send<T>({ method: 'POST', path, query, body: object });
  }

  /** PUT: the object's `metadata.resourceVersion` makes it a compare-and-swap (409 on conflict). */
  async replace<T>(path: string, object: unknown, query?: Query): Promise<T> {
    return this.#send<T>({ method: 'PUT', path, query, body: object });
  }

  /** Server-side apply (KEP-555). The path follows from the object's kind by discovery. */
  async apply<T extends KubeObject>(object: Manifest, options: ApplyOptions): Promise<T> {
    return this.#apply<T>(await this.pathOf(object), object, options);
  }

  /** Server-side apply to the status subresource. */
  async applyStatus<T extends KubeObject>(object: Manifest, options: ApplyOptions): Promise<T> {
    return this.#apply<T>(`${await this.pathOf(object)}/status`, object, options);
  }

  /** An array is sent as a JSON patch, an object as a merge patch. */
  async patch<T>(path: string, patch: JsonPatch | object, query?: Query): Promise<T> {
    const type = Array.isArray(patch) ? 'application/json-patch+json' : 'application/merge-patch+json';
    return this.#send<T>({ method: 'PATCH', path, query, body: patch, contentType: type });
  }

  async delete(path: string, options: DeleteOptions = {}): Promise<void> {
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', ...options };
    await this.#send({ method: 'DELETE', path, body });
  }

  /** As `delete`; what is not there, or by the preconditions not meant, is left alone. */
  async deleteIfThere(path: string, options: DeleteOptions = {}): Promise<void> {
    try {
      await this.delete(path, options);
    } catch (error) {
      if (!isNotFound(error) && !(isConflict(error) && options.preconditions !== undefined)) throw error;
    }
  }

  /**
   * Events from `query.resourceVersion` on, until the server ends the watch (the iteration then just ends), the signal
   * aborts, the connection breaks or stays idle (it throws), or the server sends an error (it throws that ApiError).
   */
  async *watch<T extends KubeObject>(
    path: string,
    query: Query,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const response = await this.#request({
      method: 'GET',
      path,
      query: { ...query, watch: true },
      signal,
      idleMs: WATCH_IDLE_MS,
    });
    yield* watchEvents<T>(response.body, `WATCH ${path}`);
  }

  /** The API path of an object, from its kind, namespace and name. */
  async pathOf(object: KubeObject & { apiVersion: string; kind: string }): Promise<string> {
    const collection = await this.#discovery.collection(object.apiVersion, object.kind, object.metadata.namespace);
    return `${collection}/${encodeURIComponent(object.metadata.name)}`;
  }

  /** Ends all connections; the client is of no use afterwards. */
  async close(): Promise<void> {
    await this.#credentials.close();
  }

  async #apply<T>(path: string, object: Manifest, options: ApplyOptions): Promise<T> {
    const query = {
      fieldManager: options.fieldManager,
      force: options.force ?? false,
      dryRun: options.dryRun === true ? 'All' : undefined,
    };
    return this.#send<T>({
      method: 'PATCH',
      path,
      query,
      body: object,
      contentType: 'application/apply-patch+yaml',
    });
  }

  async #send<T>(call: Call): Promise<T> {
    const { body } = await this.#request(call);
    const answer: T = JSON.parse(await body.text());
    return answer;
  }

  async #request(call: Call): Promise<Dispatcher.ResponseData> {
    const { origin, pathPrefix, dispatcher, headers } = await this.#credentials.connection();
    const response = await dispatcher.request({
      origin,
      path: `${pathPrefix}${call.path}${search(call.query)}`,
      method: call.method,
      headers: {
        // The keys of service accounts are of a type of their own (application/jwk-set+json).
        accept: 'application/json, */*;q=0.5',
        'user-agent': this.#userAgent,
        ...(call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }),
        ...headers,
      },
      body: textOf(call.body),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
      ...(call.idleMs === undefined ? {} : { bodyTimeout: call.idleMs }),
    });
    if (response.statusCode < 300) return response;
    throw await refusal(`${call.method} ${call.path}`, response);
  }
}

interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  query?: Query | undefined;
  body?: unknown;
  contentType?: string;
  signal?: AbortSignal;
  idleMs?: number;
}

function textOf(body: unknown): string | null {
  if (body === undefined) return null;
  return typeof body === 'string' ? body : JSON.stringify(body);
}

function search(query: Query | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) parameters.set(name, String(value));
  }
  return parameters.size === 0 ? '' : `?${parameters}`;
}

/** The body is a Status where the API server answered, and anything at all where something in between did. */
async function refusal(path: string, response: Dispatcher.ResponseData): Promise<ApiError> {
  const text = await response.body.text().catch(() => '');
  const after = Number(response.headers['retry-after']);
  return ApiError.fromStatus(path, response.statusCode, parseStatus(text), after > 0 ? after * 1000 : undefined);
}

function parseStatus(text: string): Status {
  try {
    const value: unknown = JSON.parse(text);
    if (isStatus(value)) return value;
  } catch {
    // Not JSON: the text itself is the best there is to say.
  }
  return { kind: 'Status', message: text.slice(0, 200) };
}

function isStatus(value: unknown): value is Status {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'Status';
}
