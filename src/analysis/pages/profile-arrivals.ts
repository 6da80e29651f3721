import { IDC_WINDOWS } from '../../documents/parts.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { WEEKDAYS } from '../profile/local-hours.ts';
import { windowText } from '../profile/profile-text.ts';
import { bars, columns } from './bars.ts';
import { figure, table } from './figure.ts';
import { heatMap } from './heat-map.ts';
import { ms, number, percent, stepBars } from './profile-values.ts';

const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
/** Below two days a week's map shows one stripe; it is drawn nevertheless, and says what is not known. */
const NAMED_HOURS = new Set([0, 3, 6, 9, 12, 15, 18, 21]);

/** Heat map, daily and weekly cycle, and the days that break it. */
export function cycleSection({
  hourOfWeek,
  hourOfWeekPerSecond,
  cycle,
  window,
  requests,
}: ProfileDocument): string {
  if (requests === 0) return '';
  const zone = window?.timeZone ?? 'UTC';
  const isRate = hourOfWeekPerSecond.some((value) => value !== null);
  const map = figure(
    {
      title: 'Hour of the week',
      unit: isRate ? 'requests/s' : 'requests',
      source: `arrivals by weekday and hour of ${zone}, over the time that lies in the window`,
      lookFor: 'office hours, nights and weekends; a single dark cell is a job that runs once a week',
    },
    heatMap({
      rows: WEEKDAYS.map((day) => day.slice(0, 3)),
      columns: HOURS.map((hour) => (NAMED_HOURS.has(hour) ? String(hour) : '')),
      values: isRate ? hourOfWeekPerSecond : hourOfWeek,
      text: (value) => (isRate ? `${number(value)}/s` : number(value)),
      description: 'requests by weekday and hour',
    }),
  );
  return `${map}<div class="pair">${dailyFigure(cycle.daily, zone)}${weeklyFigure(cycle.weekly, zone)}</div>${unusualFigure(cycle.unusual)}`;
}

function dailyFigure(daily: ProfileDocument['cycle']['daily'], zone: string): string {
  const known = daily.filter(({ mean }) => mean !== null);
  if (known.length === 0) return '';
  return figure(
    {
      title: 'Hour of the day',
      unit: 'requests/s, mean over days',
      source: `hours of ${zone} that lie whole in the window`,
      lookFor: 'when to test, and how far the peak lies over the night',
    },
    columns(
      known.map(({ hour, mean, days }) => ({
        label: `${String(hour).padStart(2, '0')}:00`,
        value: mean ?? 0,
        text: `${number(mean)}/s over ${days} ${days === 1 ? 'day' : 'days'}`,
      })),
      'mean rate by hour of the day',
    ),
  );
}

function weeklyFigure(weekly: ProfileDocument['cycle']['weekly'], zone: string): string {
  const known = weekly.filter(({ mean }) => mean !== null);
  if (known.length === 0) return '';
  return figure(
    {
      title: 'Day of the week',
      unit: 'requests/s, mean',
      source: `weekdays of ${zone}, over the time that lies in the window`,
      lookFor: 'weekends; a weekday that stands out is worth a window of its own',
    },
    bars(
      known.map(({ weekday, mean, days }) => ({
        label: `${weekday} (${days} whole)`,
        value: mean ?? 0,
        text: `${number(mean)}/s`,
      })),
    ),
  );
}

function unusualFigure({ compared, days }: ProfileDocument['cycle']['unusual']): string {
  if (compared === 0) return '';
  const rows = days.map((day) => [
    `${day.weekday} ${day.day}`,
    day.reasons.join(', '),
    day.volumeRatio === null ? 'from nothing' : `${number(day.volumeRatio)} ×`,
    percent(day.shapeDistance),
    `${String(day.hour).padStart(2, '0')}:00: ${number(day.hourMean)}/s, usual ${number(day.hourUsual)}/s`,
    day.comparedWith,
  ]);
  const body =
    rows.length === 0
      ? `<p>None of ${compared} days.</p>`
      : table(
          [
            { title: 'day', kind: 'name' },
            { title: 'breaks by', kind: 'name' },
            { title: 'volume', kind: 'number' },
            { title: 'at other hours', kind: 'number' },
            { title: 'most at', kind: 'name' },
            { title: 'compared with', kind: 'name' },
          ],
          rows,
        );
  return figure(
    {
      title: 'Days that break the cycle',
      unit: 'times the usual volume; share of requests at other hours',
      source: 'each day with at least six whole hours, held against the median of days like it',
      lookFor: 'launches, outages and holidays: leave them out of a window, or test them on purpose',
    },
    body,
  );
}

/** Peaks, gaps and dispersion. */
export function arrivalSection({ peaks, interArrival, idc, requests }: ProfileDocument): string {
  if (requests < 2) return '';
  const peakTable = figure(
    {
      title: 'Peaks',
      unit: 'requests/s',
      source: 'windows side by side from the first arrival, the last and partial one left out',
      lookFor: 'how much more than the mean a second, a minute and an hour may bring',
    },
    peaks.length === 0
      ? '<p class="soft">no whole second lies in the window</p>'
      : table(
          [
            { title: 'window', kind: 'name' },
            { title: 'requests', kind: 'number' },
            { title: 'per second', kind: 'number' },
            { title: 'times the mean', kind: 'number' },
            { title: 'from (UTC)', kind: 'number' },
          ],
          peaks.map(({ windowS, requests: count, perSecond, toMean, from }) => [
            windowText(windowS),
            number(count),
            number(perSecond),
            number(toMean),
            from.slice(0, 19).replace('T', ' '),
          ]),
        ),
  );
  const known = IDC_WINDOWS.filter((window) => idc[window] !== null);
  const dispersion = figure(
    {
      title: 'Index of dispersion',
      unit: 'variance over mean of counts; 1 is random traffic',
      source: 'counts in windows of 0.1 to 600 s; left out below 20 windows',
      lookFor: 'growth with the window: slow swings that gaps alone do not show, and autoscalers must follow',
    },
    known.length === 0
      ? '<p class="soft">too few windows</p>'
      : bars(
          // Dispersion spans magnitudes: bars show its logarithm, the text the value.
          known.map((window) => ({
            label: `${window} s`,
            value: Math.log10(1 + (idc[window] ?? 0)),
            text: number(idc[window]),
          })),
          'two',
        ),
  );
  const gaps = figure(
    {
      title: 'Gaps between arrivals',
      unit: 'share of gaps, by length in ms (steps grow by 1.41)',
      source: 'neighbouring arrivals as recorded',
      lookFor: `two humps: batches and pauses between them. CV ${number(interArrival.cv)}, p50 ${ms(interArrival.p50Ms)}, p99 ${ms(interArrival.p99Ms)}, ties ${percent(interArrival.ties)}`,
    },
    columns(stepBars(interArrival.shape, ms), 'distribution of gaps'),
  );
  return `${peakTable}<div class="pair">${gaps}${dispersion}</div>`;
}
