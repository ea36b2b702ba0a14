/* SPDX-License-Identifier: Apache-2.0 */
/* The page of cozad mutual: photos as pictures, the odd ones first, and how they were compared. */
#include "mutual.h"

#include <stdlib.h>
#include <string.h>

int mutual_page_open(mutual_setup *a)
{
    if (a->report == NULL) return CLI_OK;
    const int code = common_check_writable(a->report);
    if (code != CLI_OK) return code;
    const cz_status status = report_open(0, &a->pictures.page);
    return status == CZ_OK ? CLI_OK : cli_fail(status);
}

/* In the order of their scores. */
static cz_status add_photos(mutual_setup *a, mutual_batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const cz_mutual_photo *p = &b->photos[i];
        const cz_status status = pictures_add(&a->pictures, &b->list->items[p->index], p->score, &b->files[p->index]);
        if (status != CZ_OK) return status;
    }
    return CZ_OK;
}

static cz_status set_facts(const mutual_setup *a, const mutual_batch *b, const cz_backbone *backbone)
{
    cz_mutual_way way;
    char size[48], compared[128];
    cz_mutual_scores_way(b->scores, &way);
    (void)snprintf(size, sizeof size, "%zux%zu", a->mutual.image_width, a->mutual.image_height);
    (void)snprintf(compared, sizeof compared, "each with %zu %s, %s", a->mutual.candidates,
                   way.among == CZ_MUTUAL_AMONG_DRAWN ? "drawn ones of other pieces" : "of the most similar ones",
                   way.neighbourhood == CZ_MUTUAL_NEIGHBOURHOOD_1 ? "patch by patch" : "by neighbourhoods of 3 x 3");
    const report_fact facts[] = {{"Compared", compared}, {"Image size", size}, {"cozad", cz_version()}};
    const cz_status status = report_set_facts(a->pictures.page, facts, sizeof facts / sizeof *facts);
    return status == CZ_OK ? report_set_backbone(a->pictures.page, cz_backbone_name(backbone),
                                                 strncmp(cz_backbone_name(backbone), "random:", 7) == 0)
                           : status;
}

static cz_status add_left_out(report *page, size_t left_out)
{
    char text[96];
    if (left_out == 0) return CZ_OK;
    (void)snprintf(text, sizeof text, "%zu photo%s could not be used and %s not on this page.", left_out,
                   left_out == 1 ? "" : "s", left_out == 1 ? "is" : "are");
    return report_add_warning(page, text);
}

int mutual_page_write(mutual_setup *a, mutual_batch *b, const cz_backbone *backbone, size_t left_out)
{
    report *page = a->pictures.page;
    if (page == NULL) return CLI_OK;
    cz_status status = report_set_title(page, "Photos that differ from the others",
                                        "The photos of one product compared with each other, the odd ones first. "
                                        "Nothing was trained. A score of 0 is an "
                                        "ordinary photo of this batch, and scores of different batches are not "
                                        "comparable; a defect that most photos share "
                                        "is not found.");
    if (status == CZ_OK) status = set_facts(a, b, backbone);
    if (status == CZ_OK) status = add_left_out(page, left_out);
    report_set_scale(page, a->pictures.low, a->pictures.high);
    if (status == CZ_OK) status = add_photos(a, b);
    if (status == CZ_OK) status = report_write(page, a->report);
    if (status != CZ_OK) return cli_fail(status);
    cli_note("%s: written", a->report);
    return CLI_OK;
}
