import { z } from 'zod';
import { count, type Immutable, interval, maybeNumber, maybeText } from './parts.ts';

const demandDay = z.object({
  day: z.string().describe('In the time zone of the days: `2026-11-24`.'),
  demand: z.number().describe('Of its hardest window, as a multiple of the load that is 1x.'),
});
/** The demand of one whole day. */
export type DemandDay = Immutable<z.infer<typeof demandDay>>;

const event = z.object({
  day: z.string(),
  times: z.number().describe('Demand is multiplied by this from that day on.'),
});

/** What a forecast is made from, besides the breaking point. */
export const demandSchema = z.object({
  days: z.array(demandDay).describe('Whole days of the capture.'),
  earlier: z.array(demandDay).describe('Whole days of the history that the capture does not have.'),
  leftOut: count.describe('Days that were recorded in part.'),
  perSecond: z.number().describe('Requests per second of the load that is 1x.'),
  growth: maybeNumber.describe('Of `--growth`, as a share of a month; null to measure it.'),
  events: z.array(event),
});
export type DemandDocument = Immutable<z.infer<typeof demandSchema>>;

const demandEvent = event.extend({
  counts: z
    .enum(['forecast', 'recorded', 'later'])
    .describe(
      '`forecast`: it is in the forecast. `recorded`: recorded days have it. `later`: after the year.',
    ),
});
export type DemandEvent = Immutable<z.infer<typeof demandEvent>>;

/** When demand reaches the breaking point. A part of the document of `statement --json`. */
export const headroomSchema = z
  .object({
    state: z
      .enum(['reached', 'not_before', 'not_within_a_year', 'not_known'])
      .describe(
        '`reached`: between two days. `not_before`: not before a day; when is not known. `not_within_a_year`: after the last recorded day.',
      ),
    reached: z
      .object({ from: z.string(), to: maybeText })
      .nullable()
      .describe(
        'The first day whose demand reaches the breaking point: before `from` with 5 %, after `to` with 5 %. `to` is null of `not_before`. Days up to `recorded.to` are in the past.',
      ),
    lacks: z
      .enum(['days', 'breaking_point'])
      .nullable()
      .describe('What is missing of `not_known`: whole days, or a load that fails.'),
    confidence: z.number().describe('Of the time between both days.'),
    recorded: z.object({
      days: count.describe('Whole days that were used.'),
      needed: count,
      leftOut: count.describe('Days that were recorded in part.'),
      earlier: count.describe('Whole days before the latest half year. They are not used.'),
      from: maybeText,
      to: maybeText,
    }),
    capacity: z
      .object({
        low: z.number(),
        high: maybeNumber.describe('Null if no load failed.'),
      })
      .nullable()
      .describe('The interval of 95 % of the breaking point, in the unit of demand.'),
    growth: z.object({
      source: z.enum(['measured', 'set']).describe('`set`: by `--growth`. The forecast has that.'),
      perMonth: maybeNumber.describe('Share by which demand grows in a month; the median if measured.'),
      interval90: interval.describe('Of measured growth; null if it is set or not known.'),
      isSure: z.boolean().describe('Whether demand grows with 95 %. Always true if growth is set.'),
    }),
    changes: z
      .array(z.object({ from: z.string(), to: maybeText.describe('Null if it lasts.') }))
      .describe(
        'Days that differ by more than their weekday and growth explain. They are not taken for growth.',
      ),
    events: z.array(demandEvent),
    weeks: z
      .object({
        from: z.array(z.string()).describe('First day of each week after the last recorded day.'),
        p5: z.array(z.number()),
        p50: z.array(z.number()),
        p95: z.array(z.number()),
      })
      .describe(
        'Forecast of the hardest day of each week. Columns of equal length; empty without a forecast.',
      ),
    days: z.array(demandDay).describe('What the forecast is made of.'),
  })
  .describe('When demand reaches the breaking point.');
export type HeadroomDocument = Immutable<z.infer<typeof headroomSchema>>;
