import { type OtherPacket, parseFrame, type TcpPacket } from './packet.ts';
import type { CapturedPacket, LinkType } from './pcap.ts';
import type { Segment } from './stream.ts';

export interface End {
  readonly address: string;
  readonly port: number;
}

/** A TCP connection between two addresses of interest, as far as it was captured. */
export interface TcpFlow {
  /** Who opened it; where that was not captured, the end with the higher port. */
  readonly client: End;
  readonly server: End;
  readonly fromClient: readonly Segment[];
  readonly fromServer: readonly Segment[];
  /** Sequence number of each side's SYN, where it was captured. */
  readonly clientSyn: number | undefined;
  readonly serverSyn: number | undefined;
}

export interface StrayPacket {
  readonly at: number;
  readonly packet: OtherPacket;
}

export interface Flows {
  readonly tcp: readonly TcpFlow[];
  /** What is between the same addresses and is not TCP. */
  readonly other: readonly StrayPacket[];
  /** Packets between the same addresses of which the capture left something out. */
  readonly truncated: number;
}

/** Sorts packets whose two addresses are both of interest into connections; a SYN with a new number begins a new one. */
export function collectFlows(
  linkType: LinkType,
  packets: readonly CapturedPacket[],
  ofInterest: (address: string) => boolean,
): Flows {
  const finished: FlowBuilder[] = [];
  const open = new Map<string, FlowBuilder>();
  const other: StrayPacket[] = [];
  let truncated = 0;
  for (const { at, frame, missingBytes } of packets) {
    const packet = parseFrame(linkType, frame);
    if (packet === undefined || !ofInterest(packet.source) || !ofInterest(packet.destination)) continue;
    if (missingBytes > 0) truncated += 1;
    if (packet.kind === 'other') {
      other.push({ at, packet });
      continue;
    }
    const key = keyOf(packet);
    let flow = open.get(key);
    if (flow === undefined || flow.isReplacedBy(packet)) {
      if (flow !== undefined) finished.push(flow);
      flow = new FlowBuilder(packet);
      open.set(key, flow);
    }
    flow.add(at, packet);
  }
  return { tcp: [...finished, ...open.values()].map((flow) => flow.finish()), other, truncated };
}

function keyOf(packet: TcpPacket): string {
  const ends = [`${packet.source}|${packet.sourcePort}`, `${packet.destination}|${packet.destinationPort}`];
  return ends.sort().join('|');
}

class FlowBuilder {
  readonly #client: End;
  readonly #server: End;
  readonly #fromClient: Segment[] = [];
  readonly #fromServer: Segment[] = [];
  #clientSyn: number | undefined;
  #serverSyn: number | undefined;

  constructor(first: TcpPacket) {
    const source = { address: first.source, port: first.sourcePort };
    const destination = { address: first.destination, port: first.destinationPort };
    const sourceOpened = first.syn ? !first.ack : first.sourcePort > first.destinationPort;
    [this.#client, this.#server] = sourceOpened ? [source, destination] : [destination, source];
  }

  /** True for the SYN of a later connection between the same ends. */
  isReplacedBy(packet: TcpPacket): boolean {
    const seen = this.#clientSyn !== undefined || this.#fromClient.length > 0 || this.#fromServer.length > 0;
    return packet.syn && !packet.ack && seen && packet.sequence !== this.#clientSyn;
  }

  add(at: number, packet: TcpPacket): void {
    const fromClient = packet.source === this.#client.address && packet.sourcePort === this.#client.port;
    if (packet.syn && fromClient) this.#clientSyn = packet.sequence;
    if (packet.syn && !fromClient) this.#serverSyn = packet.sequence;
    // Data on a SYN (TCP fast open) has the number after it.
    const sequence = packet.syn ? (packet.sequence + 1) >>> 0 : packet.sequence;
    (fromClient ? this.#fromClient : this.#fromServer).push({ at, sequence, payload: packet.payload });
  }

  finish(): TcpFlow {
    return {
      client: this.#client,
      server: this.#server,
      fromClient: this.#fromClient,
      fromServer: this.#fromServer,
      clientSyn: this.#clientSyn,
      serverSyn: this.#serverSyn,
    };
  }
}
