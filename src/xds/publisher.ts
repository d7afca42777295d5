import type { Service, Workload } from '../model/mesh.ts';
import type { ModelDelta } from '../model/mesh-model.ts';
import type { Authorization } from '../policy/authorization.ts';
import { policyName } from '../policy/authorization.ts';
import type { Log } from '../telemetry/log.ts';
import { encodeService, encodeWorkload } from './encode-address.ts';
import { encodeAuthorization } from './encode-authorization.ts';
import { resources } from './metrics.ts';
import { order } from './order.ts';
import { addressType, authorizationType, type Resource, type TypeUrl, typeLabel } from './resource.ts';
import { ResourceStore } from './resource-store.ts';

/** Resource name → resource; undefined means gone. */
type Changes = ReadonlyMap<string, Resource | undefined>;

/** From changes of the mesh to the resources proxies are told of: what changed is encoded, once, and nothing else. */
export class Publisher {
  readonly addresses = new ResourceStore(addressType);
  readonly authorizations = new ResourceStore(authorizationType);

  readonly #log: Pick<Log, 'error'>;

  constructor(log: Pick<Log, 'error'>) {
    this.#log = log;
  }

  get stores(): readonly ResourceStore[] {
    return [this.addresses, this.authorizations];
  }

  /**
   * In the order in which each stream tells it.
   * @param policies all that there are now
   */
  publish({ workloads, services }: ModelDelta, policies: readonly Authorization[]): void {
    const changes: Readonly<Record<TypeUrl, Changes>> = {
      [authorizationType]: this.#changed(policies),
      [addressType]: new Map([
        ...this.#encoded(services, encodeService, withoutPorts),
        ...this.#encoded(workloads, encodeWorkload, withoutServices),
      ]),
    };
    const stores = { [addressType]: this.addresses, [authorizationType]: this.authorizations };
    for (const { type, tells } of order) {
      const isTold = (next: Resource | undefined) =>
        tells === 'Everything' || (tells === 'Gone') === (next === undefined);
      stores[type].apply([...changes[type]].filter(([, next]) => isTold(next)));
    }
    this.#measure();
  }

  /**
   * One that cannot be encoded is named, and told in its reduced form; the others go on. Left out it would be an address
   * that nobody knows, and those are spoken to in plaintext; left as it was it might be one from before its capture.
   */
  #encoded<T>(
    values: ReadonlyMap<string, T | undefined>,
    encode: (value: T) => Resource,
    reduced: (value: T) => T,
  ): Changes {
    const changes = new Map<string, Resource | undefined>();
    for (const [name, value] of values) {
      try {
        changes.set(name, value === undefined ? undefined : this.#encodedOrReduced(name, value, encode, reduced));
      } catch (error) {
        this.#log.error({ resource: name, err: error }, 'this resource cannot be told to proxies');
      }
    }
    return changes;
  }

  #encodedOrReduced<T>(name: string, value: T, encode: (value: T) => Resource, reduced: (value: T) => T): Resource {
    try {
      return encode(value);
    } catch (error) {
      this.#log.error({ resource: name, err: error }, 'this resource cannot be told to proxies whole');
      return encode(reduced(value));
    }
  }

  #changed(policies: readonly Authorization[]): Changes {
    const gone = [...this.authorizations.names()].map((name) => [name, undefined] as const);
    const present = policies.map((policy) => [policyName(policy), encodeAuthorization(policy)] as const);
    return new Map<string, Resource | undefined>([...gone, ...present]);
  }

  #measure(): void {
    for (const { type, size } of this.stores) resources.set({ type: typeLabel(type) }, size);
  }
}

/** Reached at its own addresses only, as what it is: identity and tunnel stay. */
function withoutServices(workload: Workload): Workload {
  return { ...workload, services: new Map() };
}

/** Its addresses stay known, and refuse. */
function withoutPorts(service: Service): Service {
  return { ...service, ports: [] };
}
