import { parentPort, workerData } from 'node:worker_threads';
import { type ReportRequest, reportRun } from '../../app/report.ts';
import { answerWith } from '../../app/workers.ts';

/** The thread that reads a run for its report. Started by `report` only. */
answerWith(parentPort, () => reportRun(workerData as ReportRequest));
