import type { Counted, LifeAccount, LossReason, OmissionCause } from '../../src/core/accounting.ts';

const NOTHING = { bytes: 0, turns: 0 };

type Amounts<Name extends string> = Partial<Record<Name, { exchanges: number; bytes: number }>>;

/** The account of a recording with these lost and omitted amounts. */
export function accountOf(
  parts: { readonly lost?: Amounts<LossReason>; readonly omitted?: Amounts<OmissionCause> } & Partial<
    Omit<LifeAccount, 'lost' | 'omitted'>
  > = {},
): LifeAccount {
  const { lost = {}, omitted = {}, ...rest } = parts;
  return {
    life: 'rec1',
    startedUs: 0,
    atUs: 1,
    ended: false,
    seen: NOTHING,
    recorded: NOTHING,
    exchanges: 0,
    pending: NOTHING,
    turnsAhead: null,
    spare: null,
    ...rest,
    lost: counted(lost),
    omitted: counted(omitted),
  };
}

function counted<Name extends string>(amounts: Amounts<Name>): Partial<Record<Name, Counted>> {
  const entries = Object.entries(amounts) as [Name, { exchanges: number; bytes: number }][];
  return Object.fromEntries(
    entries.map(([name, { exchanges, bytes }]) => [name, { exchanges, bytes, turns: exchanges }]),
  ) as Partial<Record<Name, Counted>>;
}
