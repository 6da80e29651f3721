import { z } from 'zod';
import { capacityPlanSchema, capacitySchema } from './capacity.ts';
import { comparisonSchema } from './comparison.ts';
import { replayEventSchema } from './events.ts';
import { explanationSchema } from './explanation.ts';
import { historySchema } from './history.ts';
import { profileSchema } from './profile.ts';
import { publicationSchema } from './publication.ts';
import { rankedWindowsSchema } from './ranked-windows.ts';
import { replaySchema } from './replay.ts';
import { replayPlanSchema } from './replay-plan.ts';
import { reportSchema } from './report.ts';
import { shownSchema } from './shown.ts';
import { statementSchema } from './statement.ts';

/** The schemas that other programs may rely on, by file name. */
const PUBLISHED: Readonly<Record<string, { readonly title: string; readonly schema: z.ZodType }>> = {
  'capacity.schema.json': { title: 'Breaking point of Reprise', schema: capacitySchema },
  'capacity-plan.schema.json': { title: 'Plan of a search of Reprise', schema: capacityPlanSchema },
  'compare.schema.json': { title: 'Comparison of Reprise', schema: comparisonSchema },
  'explain.schema.json': { title: 'Why a run of Reprise violated its objectives', schema: explanationSchema },
  'history.schema.json': { title: 'History of runs of Reprise', schema: historySchema },
  'profile.schema.json': { title: 'Traffic profile of Reprise', schema: profileSchema },
  'publication.schema.json': { title: 'Run of Reprise for experiment trackers', schema: publicationSchema },
  'replay.schema.json': { title: 'Run of Reprise', schema: replaySchema },
  'replay-events.schema.json': { title: 'Event of a run of Reprise', schema: replayEventSchema },
  'replay-plan.schema.json': { title: 'Plan of a run of Reprise', schema: replayPlanSchema },
  'report.schema.json': { title: 'Report of a run of Reprise', schema: reportSchema },
  'show.schema.json': { title: 'Requests shown by Reprise', schema: shownSchema },
  'statement.schema.json': { title: 'Statement of Reprise', schema: statementSchema },
  'windows.schema.json': { title: 'Hardest windows of a capture', schema: rankedWindowsSchema },
};

/** The JSON Schemas of all documents, as stored in `docs/`. */
export function publishedSchemas(): { readonly file: string; readonly schema: object }[] {
  return Object.entries(PUBLISHED).map(([file, { title, schema }]) => ({
    file,
    schema: {
      $id: `https://reprise.invalid/${file}`,
      title,
      ...z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input', reused: 'ref' }),
    },
  }));
}
