import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { AddressSchema, type Service, type Workload } from '../../proto/gen/istio/workload/workload_pb.js';
import { controlDnsNames } from '../../src/api/names.ts';
import { addressType, authorizationType, type TypeUrl } from '../../src/xds/resource.ts';
import { deltaAggregatedResources } from '../fixtures/grpc/methods.ts';

export type Request = MessageInitShape<typeof DeltaDiscoveryRequestSchema>;

export interface ProxyOptions {
  readonly port: number;
  /** Of the trust bundle, PEM. */
  readonly roots: string;
  readonly token?: string | undefined;
  /** False: answers are not acknowledged. */
  readonly acknowledges?: boolean;
}

/** How long a test waits for an answer before it says what it has instead, ms. */
const limitMs = 15_000;

/** A node proxy as far as discovery goes: keeps what it is told, acknowledges, resumes. */
export class XdsProxy {
  /** Resource name → version, by type; kept over reconnections. */
  readonly versions = new Map<string, Map<string, string>>();
  readonly workloads = new Map<string, Workload>();
  readonly services = new Map<string, Service>();
  readonly policies = new Set<string>();
  /** All answers of all streams. */
  readonly answers: DeltaDiscoveryResponse[] = [];
  readonly #options: ProxyOptions;
  readonly #client: Client;
  readonly #watchers = new Set<() => void>();
  #stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> | undefined;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#client = new Client(`127.0.0.1:${options.port}`, credentials.createSsl(Buffer.from(options.roots)), {
      'grpc.ssl_target_name_override': controlDnsNames[0] ?? '',
    });
  }

  /** Opens a stream; the result is how it ends. */
  open(): Promise<{ status: string; details: string }> {
    const { path, serialize, deserialize } = deltaAggregatedResources;
    const metadata = new Metadata();
    if (this.#options.token !== undefined) metadata.set('authorization', `Bearer ${this.#options.token}`);
    const stream = this.#client.makeBidiStreamRequest(path, serialize, deserialize, metadata);
    this.#stream = stream;
    stream.on('data', (answer: DeltaDiscoveryResponse) => this.#take(answer));
    return new Promise((resolve) => {
      stream.on('error', (error: ServiceError) => resolve({ status: status[error.code], details: error.details }));
      stream.on('end', () => resolve({ status: 'OK', details: '' }));
    });
  }

  send(request: Request): void {
    this.#stream?.write(create(DeltaDiscoveryRequestSchema, { typeUrl: addressType, ...request }));
  }

  /** Asks for everything of both types, and says what it has. */
  subscribe(): void {
    for (const typeUrl of [addressType, authorizationType]) {
      const initialResourceVersions = Object.fromEntries(this.versions.get(typeUrl) ?? []);
      this.send({ typeUrl, resourceNamesSubscribe: ['*'], initialResourceVersions });
    }
  }

  answersOf(type: TypeUrl): DeltaDiscoveryResponse[] {
    return this.answers.filter(({ typeUrl }) => typeUrl === type);
  }

  /** Waits for answers until this holds. */
  async until(what: string, holds: () => boolean): Promise<void> {
    if (holds()) return;
    const waiting = Promise.withResolvers<void>();
    const look = () => {
      if (holds()) waiting.resolve();
    };
    const late = () => waiting.reject(new Error(`${what}: not within ${limitMs} ms; known: ${this.#summary()}`));
    const timer = setTimeout(late, limitMs);
    this.#watchers.add(look);
    try {
      await waiting.promise;
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(look);
    }
  }

  /** Waits for the next answer of this type. */
  async next(type: TypeUrl = addressType): Promise<DeltaDiscoveryResponse> {
    const before = this.answersOf(type).length;
    await this.until(`another answer of ${type}`, () => this.answersOf(type).length > before);
    const answer = this.answersOf(type)[before];
    if (answer === undefined) throw new Error('an answer that was there is gone');
    return answer;
  }

  disconnect(): void {
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  close(): void {
    this.disconnect();
    this.#client.close();
  }

  #take(answer: DeltaDiscoveryResponse): void {
    this.answers.push(answer);
    const versions = this.versions.get(answer.typeUrl) ?? new Map<string, string>();
    this.versions.set(answer.typeUrl, versions);
    for (const name of answer.removedResources) {
      versions.delete(name);
      for (const kept of [this.workloads, this.services, this.policies]) kept.delete(name);
    }
    for (const { name, version, resource } of answer.resources) {
      versions.set(name, version);
      if (answer.typeUrl === authorizationType) this.policies.add(name);
      else this.#keep(name, resource?.value ?? new Uint8Array());
    }
    if (this.#options.acknowledges !== false) {
      this.send({ typeUrl: answer.typeUrl, responseNonce: answer.nonce });
    }
    for (const look of this.#watchers) look();
  }

  #keep(name: string, value: Uint8Array): void {
    const { type } = fromBinary(AddressSchema, value);
    if (type.case === 'workload') this.workloads.set(name, type.value);
    if (type.case === 'service') this.services.set(name, type.value);
  }

  #summary(): string {
    return [...this.workloads.keys(), ...this.services.keys(), ...this.policies].join(', ') || 'nothing';
  }
}
