/* SPDX-License-Identifier: Apache-2.0 */
/* Training through the page: data sets of uploaded photos, and jobs that train on them in a process of lower priority. Everything is files
 * below settings->state_dir, so that a restart finds it again; a job that was running when the server ended goes on with its checkpoint.
 *
 *   STATE/datasets/NAME/photos/FILE, dataset.json     uploaded photos
 *   STATE/jobs/ID/job.json, log.jsonl, model.cozad…   state of a job, written atomically
 *   STATE/models/NAME.cozad                           activated models: in the model directory where there is one
 *
 * Routes (JSON; docs/serve.md has every field):
 *   GET    /api/datasets                     POST /api/datasets {"name"}
 *   GET    /api/datasets/{}                  DELETE /api/datasets/{}
 *   PUT    /api/datasets/{}/photos/{}        raw picture bytes; checked by decoding
 *   GET    /api/datasets/{}/photos/{}        ?size=N: thumbnail, JPEG    DELETE the same
 *   GET    /api/jobs      POST /api/jobs {"dataset", "name", "method": "simplenet"|"comet", "epochs", …}
 *   GET    /api/jobs/{}   DELETE /api/jobs/{} (cancels, or removes one that ended)
 *   POST   /api/jobs/{}/exclude {"photos": [NAME]}   left out of the next training
 *   GET    /api/jobs/{}/distrusted           photos in order of confidence, worst first (of `cozad inspect`)
 *   POST   /api/jobs/{}/calibrate {"dataset", "alpha"}      POST /api/jobs/{}/activate {"as"}
 * States of a job: queued, running, done, failed, cancelled. One job runs at a time. */
#ifndef SV_STUDIO_H
#define SV_STUDIO_H

#include "http.h"
#include "pool.h"

typedef struct sv_studio sv_studio;

/* Without state_dir: routes that answer 404 with the reason. */
cz_status sv_studio_open(const sv_settings *settings, sv_http *http, sv_models *models, sv_pool *pool, sv_studio **out);
size_t sv_studio_running(sv_studio *s);
/* Ends the running child (it writes its checkpoint) and waits for it. */
void sv_studio_close(sv_studio *s);

#endif
