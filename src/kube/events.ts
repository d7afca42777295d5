import { createHash } from 'node:crypto';
import type { Log } from '../telemetry/log.ts';
import type { KubeClient } from './client/client.ts';
import { isConflict, isNotFound } from './client/client.ts';
import { type Clock, systemClock } from './clock.ts';
import type { KubeObject } from './objects.ts';

/** What to tell the user about an object. */
export interface EventNote {
  type: 'Normal' | 'Warning';
  /** One CamelCase word, stable. */
  reason: string;
  /** What we did or tried, one CamelCase word. */
  action: string;
  /** For a person to read; cut at 1024 bytes, the API's limit. */
  note: string;
  /** The same has happened again, and is not only still so: a repeat is written at once. */
  isNews?: boolean;
}

export interface EventRecorderOptions {
  client: Pick<KubeClient, 'create' | 'patch'>;
  /** For example `mesh.tulle.dev/operator`. */
  controller: string;
  /** For example the pod's name. */
  instance: string;
  log: Log;
  clock?: Clock;
}

interface Sent {
  path: string;
  count: number;
  at: number;
}

/** What is still so is written again, as a series, at most this often, ms. */
const REPEAT_MS = 300_000;

/** Events remembered, to tell repeats; the oldest is forgotten first. */
const REMEMBERED = 1024;

/**
 * Writes events.k8s.io/v1 Events. The name of an Event follows from what it says about which object, so a repeat,
 * also by another replica or after a restart, finds the Event that is there and becomes its series instead of one
 * more. Never throws: an Event that cannot be written is logged.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #sent = new Map<string, Sent>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  async record(regarding: KubeObject, note: EventNote): Promise<void> {
    const name = eventName(regarding, note);
    const sent = this.#sent.get(name);
    try {
      if (sent === undefined) await this.#create(name, regarding, note);
      else if (!(await this.#repeat(name, sent, note.isNews === true))) await this.#create(name, regarding, note);
    } catch (error) {
      const fields = { object: regarding.metadata.name, reason: note.reason, err: error };
      this.#options.log.warn(fields, 'cannot write an event');
    }
  }

  async #create(name: string, regarding: KubeObject, note: EventNote): Promise<void> {
    const { client, controller, instance } = this.#options;
    const namespace = eventNamespace(regarding);
    const collection = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const now = this.#clock.now();
    this.#remember(name, { path: `${collection}/${name}`, count: 1, at: now });
    const { apiVersion, kind, metadata } = regarding;
    const about = { apiVersion, kind, name: metadata.name, namespace: metadata.namespace, uid: metadata.uid };
    const event = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace },
      eventTime: microTime(now),
      reportingController: controller,
      reportingInstance: instance,
      type: note.type,
      reason: note.reason,
      action: note.action,
      note: cut(note.note),
      // The API server wants both namespaces alike, also where the object is a Namespace.
      regarding: kind === 'Namespace' ? { ...about, namespace } : about,
    };
    try {
      await client.create(collection, event);
    } catch (error) {
      // Written by another replica, or before a restart.
      if (!isConflict(error)) {
        this.#sent.delete(name);
        throw error;
      }
    }
  }

  /** False when the Event is there no longer: the API server keeps them for an hour, by default. */
  async #repeat(name: string, sent: Sent, isNews: boolean): Promise<boolean> {
    sent.count += 1;
    const now = this.#clock.now();
    if (!isNews && now - sent.at < REPEAT_MS) return true;
    sent.at = now;
    const series = { count: sent.count, lastObservedTime: microTime(now) };
    try {
      await this.#options.client.patch(sent.path, { series });
      return true;
    } catch (error) {
      this.#sent.delete(name);
      if (!isNotFound(error)) throw error;
      return false;
    }
  }

  #remember(name: string, sent: Sent): void {
    this.#sent.set(name, sent);
    const [oldest] = this.#sent.keys();
    if (this.#sent.size > REMEMBERED && oldest !== undefined) this.#sent.delete(oldest);
  }
}

/** Events about cluster-scoped objects live in `default`, those about a Namespace in that namespace. */
function eventNamespace(regarding: KubeObject): string {
  if (regarding.kind === 'Namespace') return regarding.metadata.name;
  return regarding.metadata.namespace ?? 'default';
}

function eventName(regarding: KubeObject, note: EventNote): string {
  const { name, namespace, uid } = regarding.metadata;
  const said = JSON.stringify([regarding.kind, namespace, uid, note.type, note.reason, note.note]);
  return `${name.slice(0, 200).replace(/[^a-z0-9]+$/, '')}.${createHash('sha256').update(said).digest('hex').slice(0, 16)}`;
}

function cut(note: string): string {
  const bytes = Buffer.from(note);
  return bytes.length <= 1024 ? note : `${bytes.subarray(0, 1015).toString('utf8').replace(/�$/u, '')}…`;
}

function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
