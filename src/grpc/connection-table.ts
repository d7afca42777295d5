import { AddressRates, type Rate } from '../limits/address-rates.ts';
import { type ShareLimits, Shares } from '../limits/shares.ts';
import { refusedConnections } from './metrics.ts';

export interface ConnectionTableLimits {
  /** Connections of an address, and in all. */
  readonly connections: ShareLimits;
  /** The same of those on which nobody was let in yet: for a new one the oldest has to go. */
  readonly unauthenticated: ShareLimits;
  /** New connections of an address. */
  readonly newConnections: Rate;
}

/** As much of a socket as is looked at. */
export interface Peer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  once(event: 'close', listener: () => void): unknown;
  destroy(): unknown;
}

/**
 * The sockets there are, from before the handshake on, by address and port:
 *
 *   new ── too many of its address, or in all, or too often ──► closed
 *    └──► UNAUTHENTICATED ── a call is let in ──► AUTHENTICATED ──► closed by itself
 *              └── the table of these is full, and it is the oldest of the address that has most ──► closed
 *
 * Whoever comes last gets in, so that holding every place keeps nobody out for longer than it takes to be let in; an address
 * that has few places keeps them.
 */
export class ConnectionTable {
  readonly #limits: ConnectionTableLimits;
  readonly #shares: Shares;
  readonly #rates: AddressRates;
  readonly #sockets = new Map<string, Peer>();
  /** By address, the oldest first. */
  readonly #unauthenticated = new Map<string, Set<string>>();
  #unauthenticatedCount = 0;

  constructor(limits: ConnectionTableLimits) {
    this.#limits = limits;
    this.#shares = new Shares(limits.connections);
    this.#rates = new AddressRates(limits.newConnections);
  }

  /** Whether it may stay; it is destroyed otherwise. */
  add(socket: Peer): boolean {
    const { remoteAddress: address, remotePort = 0 } = socket;
    // One that its peer has reset already has no address.
    if (address === undefined) {
      socket.destroy();
      return false;
    }
    const release = this.#rates.spend(address) ? this.#shares.take(address) : undefined;
    if (release === undefined) {
      refusedConnections.inc();
      socket.destroy();
      return false;
    }
    const peer = `${address}:${remotePort}`;
    this.#makeRoom(address);
    this.#addUnauthenticated(address, peer);
    this.#sockets.set(peer, socket);
    socket.once('close', () => {
      release();
      // Another one may have the same address and port before this one has closed.
      if (this.#sockets.get(peer) !== socket) return;
      this.#releaseUnauthenticated(address, peer);
      this.#sockets.delete(peer);
    });
    return true;
  }

  markAuthenticated(address: string, peer: string): void {
    this.#releaseUnauthenticated(address, peer);
  }

  /** Ends its socket at once. */
  cut(peer: string): void {
    this.#sockets.get(peer)?.destroy();
  }

  cutAll(): void {
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  #makeRoom(address: string): void {
    const { each, all } = this.#limits.unauthenticated;
    if ((this.#unauthenticated.get(address)?.size ?? 0) >= each) this.#evict(address);
    else if (this.#unauthenticatedCount >= all) this.#evict(this.#addressWithMost());
  }

  #evict(address: string): void {
    const [oldest] = this.#unauthenticated.get(address) ?? [];
    if (oldest === undefined) return;
    refusedConnections.inc();
    this.#releaseUnauthenticated(address, oldest);
    this.cut(oldest);
  }

  /** Of several, the one that has waited longest for a place more. */
  #addressWithMost(): string {
    let most = { address: '', size: 0 };
    for (const [address, { size }] of this.#unauthenticated) if (size > most.size) most = { address, size };
    return most.address;
  }

  #addUnauthenticated(address: string, peer: string): void {
    const peers = this.#unauthenticated.get(address) ?? new Set();
    if (peers.has(peer)) return;
    this.#unauthenticated.set(address, peers.add(peer));
    this.#unauthenticatedCount += 1;
  }

  #releaseUnauthenticated(address: string, peer: string): void {
    const peers = this.#unauthenticated.get(address);
    if (peers?.delete(peer) !== true) return;
    this.#unauthenticatedCount -= 1;
    if (peers.size === 0) this.#unauthenticated.delete(address);
  }
}
