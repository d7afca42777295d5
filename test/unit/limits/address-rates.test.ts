import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { AddressRates } from '../../../src/limits/address-rates.ts';

describe('R37 rates of addresses', () => {
  it('are each its own, and forgotten when they are whole again', () => {
    let now = 0;
    const rates = new AddressRates({ burst: 2, perSecond: 1 }, () => now);
    deepStrictEqual(
      ['a', 'a', 'a', 'b'].map((address) => rates.spend(address)),
      [true, true, false, true],
    );
    now = 1_000;
    deepStrictEqual([rates.spend('a'), rates.spend('a')], [true, false]);
    strictEqual(rates.size, 2);
    now = 2_500;
    rates.spend('c');
    strictEqual(rates.size, 2, 'b is forgotten');
  });

  it('are remembered of so many addresses, whoever comes', () => {
    const rates = new AddressRates({ burst: 2, perSecond: 1 }, () => 0);
    for (let address = 0; address < 20_000; address++) rates.spend(String(address));
    strictEqual(rates.size, 16_384);
  });
});
