interface ApiResourceList {
  resources: { name: string; kind: string; namespaced: boolean }[];
}

interface Resource {
  plural: string;
  namespaced: boolean;
}

/**
 * Answers where objects of a kind live, by the API server's own discovery documents. Known kinds are remembered; an
 * unknown one is asked for again each time, since its CustomResourceDefinition may come later.
 */
export class Discovery {
  readonly #get: (path: string) => Promise<unknown>;
  readonly #known = new Map<string, Resource>();

  constructor(get: (path: string) => Promise<unknown>) {
    this.#get = get;
  }

  /** Path of the collection, for example `/apis/apps/v1/namespaces/shop/deployments`. Throws for an unknown kind. */
  async collection(apiVersion: string, kind: string, namespace: string | undefined): Promise<string> {
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const { plural, namespaced } = await this.#resource(root, kind);
    if (!namespaced) return `${root}/${plural}`;
    if (namespace === undefined) throw new Error(`${kind} is namespaced: metadata.namespace is missing`);
    return `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
  }

  async #resource(root: string, kind: string): Promise<Resource> {
    const known = this.#known.get(`${root} ${kind}`);
    if (known !== undefined) return known;
    for (const entry of resourcesOf(await this.#get(root))) {
      if (entry.name.includes('/')) continue;
      this.#known.set(`${root} ${entry.kind}`, { plural: entry.name, namespaced: entry.namespaced });
    }
    const found = this.#known.get(`${root} ${kind}`);
    if (found === undefined) throw new Error(`the API server does not know the kind ${kind} in ${root}`);
    return found;
  }
}

function resourcesOf(document: unknown): ApiResourceList['resources'] {
  return isResourceList(document) ? document.resources : [];
}

function isResourceList(document: unknown): document is ApiResourceList {
  return typeof document === 'object' && document !== null && 'resources' in document;
}
