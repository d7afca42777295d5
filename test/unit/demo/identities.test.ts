import assert from 'node:assert/strict';
import { identityPairs, seenIdentities } from '../../../hack/demo/identities.ts';

const line = (labels: Record<string, string>, value: number, name = 'istio_tcp_connections_opened_total') => {
  const text = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
  return `${name}{${text.join(',')}} ${value}`;
};
const web = 'spiffe://cluster.local/ns/shop/sa/web';
const cart = 'spiffe://cluster.local/ns/shop/sa/cart';
const call = {
  reporter: 'source',
  source_workload_namespace: 'shop',
  source_principal: web,
  destination_workload_namespace: 'shop',
  destination_principal: cart,
  connection_security_policy: 'mutual_tls',
};

describe('the identities that proxies counted', () => {
  it('are summed up over nodes, kept apart by reporter', () => {
    const pages = [
      ['# TYPE istio_tcp_connections_opened_total counter', line(call, 3), line({ ...call, source_workload: 'x' }, 4)],
      [line({ ...call, reporter: 'destination' }, 6), line(call, 9, 'istio_tcp_connections_closed_total')],
    ];
    const pairs = identityPairs(
      pages.flatMap((lines) => seenIdentities(lines.join('\n'))),
      'shop',
    );
    assert.deepEqual(pairs, [{ from: web, to: cart, countedBySource: 7, countedByDestination: 6 }]);
  });

  it('leave out what did not go through the tunnel, and other namespaces', () => {
    const page = [
      line({ ...call, connection_security_policy: 'unknown' }, 3),
      line({ ...call, source_workload_namespace: 'other' }, 3),
      line({ ...call, destination_workload_namespace: 'other' }, 3),
    ];
    assert.deepEqual(identityPairs(seenIdentities(page.join('\n')), 'shop'), []);
  });

  it('are the same with and without their scheme', () => {
    const page = line({ ...call, source_principal: web.replace('spiffe://', '') }, 2);
    assert.equal(identityPairs(seenIdentities(page), 'shop')[0]?.from, web);
  });

  it('survive labels with quotes, commas, backslashes and line ends in them', () => {
    const page = line({ odd: 'a\\"b,c="d\\\\', ...call, source_principal: 'x\\ny' }, 1);
    assert.equal(seenIdentities(page)[0]?.sourceIdentity, 'x\ny');
    assert.equal(seenIdentities(page)[0]?.destinationIdentity, cart);
    const quoted = line({ ...call, source_principal: 'a\\"b' }, 1);
    assert.equal(seenIdentities(quoted)[0]?.sourceIdentity, 'a"b');
  });
});
