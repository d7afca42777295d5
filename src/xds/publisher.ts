import type { Log } from '../kube/log.ts';
import type { MeshSettings } from '../model/mesh.ts';
import { MeshModel } from '../model/mesh-model.ts';
import type { Authorization } from '../policy/authorization.ts';
import { policyName } from '../policy/authorization.ts';
import { strictMtls } from '../policy/strict-mtls.ts';
import { encodeService, encodeWorkload } from './encode-address.ts';
import { encodeAuthorization } from './encode-authorization.ts';
import { modelServices, modelWorkloads, resources } from './metrics.ts';
import { addressType, authorizationType, type Resource, typeLabel } from './resource.ts';
import { ResourceStore } from './resource-store.ts';

/** From the model to the resources proxies are told of: what a commit touched is encoded, once, and nothing else. */
export class Publisher {
  readonly model: MeshModel;
  readonly addresses = new ResourceStore(addressType);
  readonly authorizations = new ResourceStore(authorizationType);

  readonly #log: Pick<Log, 'error'>;

  constructor(settings: MeshSettings, log: Pick<Log, 'error'>) {
    this.model = new MeshModel(settings);
    this.#log = log;
  }

  get stores(): readonly ResourceStore[] {
    return [this.addresses, this.authorizations];
  }

  /** Policy goes first: where a change tightens it, no proxy is to hear of a new workload before. */
  publish(): void {
    this.#publishPolicies();
    const { workloads, services } = this.model.commit();
    this.addresses.apply([...this.#encoded(services, encodeService), ...this.#encoded(workloads, encodeWorkload)]);
    this.#measure();
  }

  /** One that cannot be encoded is named and stays as it was; the others go on. */
  #encoded<T>(
    values: ReadonlyMap<string, T | undefined>,
    encode: (value: T) => Resource,
  ): (readonly [string, Resource | undefined])[] {
    return [...values].flatMap(([name, value]) => {
      try {
        return [[name, value === undefined ? undefined : encode(value)] as const];
      } catch (error) {
        this.#log.error({ resource: name, err: error }, 'this resource cannot be told to proxies');
        return [];
      }
    });
  }

  #publishPolicies(): void {
    const policies = meshPolicies(this.model.settings);
    const next = new Map<string, Resource | undefined>();
    for (const name of this.authorizations.names()) next.set(name, undefined);
    for (const policy of policies) next.set(policyName(policy), encodeAuthorization(policy));
    this.authorizations.apply(next);
  }

  #measure(): void {
    modelServices.set(this.model.services.size);
    modelWorkloads.set({ tunnel: 'hbone' }, this.model.tunnelled);
    modelWorkloads.set({ tunnel: 'none' }, this.model.workloads.size - this.model.tunnelled);
    for (const { type, size } of this.stores) resources.set({ type: typeLabel(type) }, size);
  }
}

/** The policies that follow from the Mesh. */
function meshPolicies(settings: MeshSettings): readonly Authorization[] {
  return settings.strictMtls ? [strictMtls] : [];
}
