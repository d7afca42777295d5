/** The authority's stores and the token reviewer on a real API server. */

import type { JSONWebKeySet } from 'jose';
import {
  annotations,
  authoritySecretName,
  components,
  fieldManagers,
  managedBy,
  ownedLabels,
  systemNamespace,
  trustBundle,
} from '../../api/names.ts';
import { Reflector } from '../../kube/cache/reflector.ts';
import { isConflict, type KubeClient } from '../../kube/client/client.ts';
import type { ConfigMap, KubeObject, Secret, TokenReview } from '../../kube/objects.ts';
import type { Log } from '../../telemetry/log.ts';
import type { BundleStore, SecretStore, StoredBundle, StoredSecret } from '../authority/stores.ts';
import type { TokenReviewer } from '../issuance/token-reviewer.ts';

const secretsPath = `/api/v1/namespaces/${systemNamespace}/secrets`;
const secretPath = `${secretsPath}/${authoritySecretName}`;
const configMapsPath = `/api/v1/namespaces/${systemNamespace}/configmaps`;
/** The one key of the Secret. */
const stateKey = 'authority.json';

const labels = { [ownedLabels.managedBy]: managedBy, [ownedLabels.name]: components.control };

/** The Secret `tulle-ca`. A client's 404 and 409 are answers here, everything else is thrown as it is. */
export function kubernetesSecretStore(client: Pick<KubeClient, 'find' | 'create'>): SecretStore {
  return {
    async read(): Promise<StoredSecret | undefined> {
      const secret = await client.find<Secret>(secretPath);
      if (secret === undefined) return undefined;
      return { state: Buffer.from(secret.data?.[stateKey] ?? '', 'base64').toString('utf8') };
    },
    create: (state) =>
      unlessConflict(
        () => client.create(secretsPath, secretOf(state), { fieldManager: fieldManagers.control }),
        'created',
        'exists',
      ),
  };
}

function secretOf(state: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: authoritySecretName, namespace: systemNamespace, labels },
    type: 'Opaque',
    data: { [stateKey]: Buffer.from(state).toString('base64') },
  };
}

async function unlessConflict<A, B>(write: () => Promise<unknown>, done: A, conflict: B): Promise<A | B> {
  try {
    await write();
    return done;
  } catch (error) {
    if (isConflict(error)) return conflict;
    throw error;
  }
}

/**
 * A resourceVersion that no object has: etcd's first revision is that of the empty store. An object applied with it is created
 * where there is none, and is in conflict with any there is.
 */
const neverAVersion = '1';

/** The ConfigMap `tulle-trust-bundle`, written by server-side apply. */
export function kubernetesBundleStore(client: Pick<KubeClient, 'find' | 'apply'>): BundleStore {
  return {
    async read(): Promise<StoredBundle | undefined> {
      const configMap = await client.find<ConfigMap>(`${configMapsPath}/${trustBundle.configMapName}`);
      if (configMap === undefined) return undefined;
      return {
        pem: configMap.data?.[trustBundle.key] ?? '',
        sha256: configMap.metadata.annotations?.[annotations.bundleSha256],
        version: configMap.metadata.resourceVersion ?? neverAVersion,
      };
    },
    publish({ pem, sha256 }, over = neverAVersion) {
      const configMap = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: {
          name: trustBundle.configMapName,
          namespace: systemNamespace,
          resourceVersion: over,
          labels,
          annotations: sha256 === undefined ? {} : { [annotations.bundleSha256]: sha256 },
        },
        data: { [trustBundle.key]: pem },
      };
      const apply = () => client.apply(configMap, { fieldManager: fieldManagers.control, force: true });
      return unlessConflict(apply, 'published', 'conflict');
    },
  };
}

/** `subscribe` of the authority: wakes it when the Secret or the bundle changes. */
export function watchAuthority(
  client: Pick<KubeClient, 'list' | 'watch'>,
  log: Log,
): (wake: () => void, signal: AbortSignal) => void {
  return (wake, signal) => {
    for (const [path, name] of [
      [secretsPath, authoritySecretName],
      [configMapsPath, trustBundle.configMapName],
    ] as const) {
      const reflector = new Reflector<KubeObject>({
        client,
        path,
        query: { fieldSelector: `metadata.name=${name}` },
        log,
        // Only that it changed is of interest: the key is not kept a second time.
        transform: ({ metadata }) => ({ metadata: { ...metadata, annotations: {}, managedFields: [] } }),
      });
      reflector.onEvent(wake);
      reflector.start(signal);
    }
  };
}

/** The keys that sign tokens of service accounts, as the API server publishes them (its JWKS). */
export function kubernetesTokenKeys(client: Pick<KubeClient, 'get'>): () => Promise<JSONWebKeySet> {
  return () => client.get<JSONWebKeySet>('/openid/v1/jwks');
}

/** Token reviews, by the API server. */
export function kubernetesTokenReviewer(client: Pick<KubeClient, 'create'>): TokenReviewer {
  return {
    async review(token, audiences) {
      const review = await client.create<TokenReview>('/apis/authentication.k8s.io/v1/tokenreviews', {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences },
      });
      return review.status ?? {};
    },
  };
}
