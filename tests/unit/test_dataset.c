/* SPDX-License-Identifier: Apache-2.0 */
/* Every layout as a small made-up tree, and the real data sets where they are. */
#include "dataset_tree.h"

/* ---- layouts ------------------------------------------------------------------------------------------------- */

static void mvtec_ad(void **state)
{
    (void)state;
    touch(
        "m/screw/train/good/000.jpg m/screw/train/good/001.png m/screw/test/good/000.png m/screw/test/scratch/000.jpg "
        "m/screw/test/scratch/001.png m/screw/test/scratch/002.png m/screw/ground_truth/scratch/000_mask.png "
        "m/screw/ground_truth/scratch/001.png m/screw/ground_truth/scratch/009_mask.png "
        "m/screw/ground_truth/lost/000_mask.png m/screw/readme.txt m/screw/test/scratch/._000.png m/notes/a.png "
        "m/nut/train/good/deeper/5.bmp m/license.txt m/.hidden/test/good/1.png m/screw/test/scratch/notes.txt");
    check_both("m", "mvtec",
               "nut r 0 good nut/train/good/deeper/5.bmp\n"
               "screw r 0 good screw/train/good/000.jpg\n"
               "screw r 0 good screw/train/good/001.png\n"
               "screw t 0 good screw/test/good/000.png\n"
               "screw t 1 scratch screw/test/scratch/000.jpg<screw/ground_truth/scratch/000_mask.png\n"
               "screw t 1 scratch screw/test/scratch/001.png<screw/ground_truth/scratch/001.png\n"
               "screw t 1 scratch screw/test/scratch/002.png\n");
    check_strays("m", "screw/ground_truth/lost/000_mask.png screw/ground_truth/scratch/009_mask.png ");
    check_both("m/nut", "mvtec", "nut r 0 good train/good/deeper/5.bmp\n");
    check_both("m/screw", "mvtec",
               "screw r 0 good train/good/000.jpg\n"
               "screw r 0 good train/good/001.png\n"
               "screw t 0 good test/good/000.png\n"
               "screw t 1 scratch test/scratch/000.jpg<ground_truth/scratch/000_mask.png\n"
               "screw t 1 scratch test/scratch/001.png<ground_truth/scratch/001.png\n"
               "screw t 1 scratch test/scratch/002.png\n");
    check_rule("m", "mvtec", CZ_MASK_HALF);
    refused("m/notes", NULL, CZ_E_NO_IMAGES, "no known layout");
    refused("m/notes", "mvtec", CZ_E_NO_IMAGES, "is not laid out as mvtec");
    refused("m/none", NULL, CZ_E_IO, "No such file");
    refused("m/license.txt", NULL, CZ_E_IO, "is not a folder");
    refused("m", "mvtex", CZ_E_ARG, "no layout");
}

static void mvtec_others(void **state)
{
    (void)state;
    touch("ad2/can/train/good/000_regular.png ad2/can/validation/good/000_regular.png "
          "ad2/can/test_public/good/000_regular.png ad2/can/test_public/bad/000_shift_1.png "
          "ad2/can/test_public/ground_truth/bad/000_shift_1_mask.png ad2/can/test_private/000_regular.png "
          "ad2/can/test_private_mixed/000_mixed.png");
    check_both("ad2", "mvtec",
               "can r 0 good can/train/good/000_regular.png\n"
               "can t -1 ~ can/test_private/000_regular.png\n"
               "can t -1 ~ can/test_private_mixed/000_mixed.png\n"
               "can t 1 bad can/test_public/bad/000_shift_1.png<can/test_public/ground_truth/bad/000_shift_1_mask.png\n"
               "can t 0 good can/test_public/good/000_regular.png\n"
               "can v 0 good can/validation/good/000_regular.png\n");
    touch("d3/tire/train/good/rgb/000.png d3/tire/train/good/xyz/000.tiff d3/tire/validation/good/rgb/000.png "
          "d3/tire/test/good/rgb/000.png d3/tire/test/good/gt/000.png d3/tire/test/hole/rgb/000.png "
          "d3/tire/test/hole/gt/000.png d3/tire/test/hole/xyz/000.tiff d3/tire/calibration/camera.json");
    check_both("d3", "mvtec",
               "tire r 0 good tire/train/good/rgb/000.png\n"
               "tire t 0 good tire/test/good/rgb/000.png<tire/test/good/gt/000.png\n"
               "tire t 1 hole tire/test/hole/rgb/000.png<tire/test/hole/gt/000.png\n"
               "tire v 0 good tire/validation/good/rgb/000.png\n");
    touch("loco/box/train/good/000.png loco/box/validation/good/000.png loco/box/test/good/000.png "
          "loco/box/test/logical_anomalies/000.png loco/box/test/structural_anomalies/000.png "
          "loco/box/ground_truth/logical_anomalies/000/000.png loco/box/ground_truth/logical_anomalies/000/001.png "
          "loco/box/ground_truth/structural_anomalies/000/000.png "
          "loco/box/ground_truth/structural_anomalies/007/000.png loco/box/defects_config.json");
    check_both("loco", "loco",
               "box r 0 good box/train/good/000.png\n"
               "box t 0 good box/test/good/000.png\n"
               "box t 1 logical_anomalies "
               "box/test/logical_anomalies/000.png<box/ground_truth/logical_anomalies/000/000.png<box/ground_truth/"
               "logical_anomalies/000/001.png\n"
               "box t 1 structural_anomalies "
               "box/test/structural_anomalies/000.png<box/ground_truth/structural_anomalies/000/000.png\n"
               "box v 0 good box/validation/good/000.png\n");
    check_strays("loco", "box/ground_truth/structural_anomalies/007 ");
    check_rule("loco/box", NULL, CZ_MASK_NONZERO);
    touch(
        "btad/01/train/ok/0000.bmp btad/01/test/ok/0001.bmp btad/01/test/ko/0002.bmp btad/01/ground_truth/ko/0002.png "
        "btad/03/train/ok/0000.bmp btad/03/test/ko/0003.bmp btad/03/ground_truth/ko/0003.bmp");
    check_both("btad", "btad",
               "01 r 0 good 01/train/ok/0000.bmp\n"
               "01 t 1 ko 01/test/ko/0002.bmp<01/ground_truth/ko/0002.png\n"
               "01 t 0 good 01/test/ok/0001.bmp\n"
               "03 r 0 good 03/train/ok/0000.bmp\n"
               "03 t 1 ko 03/test/ko/0003.bmp<03/ground_truth/ko/0003.bmp\n");
    check_both("btad/03", "btad",
               "03 r 0 good train/ok/0000.bmp\n"
               "03 t 1 ko test/ko/0003.bmp<ground_truth/ko/0003.bmp\n");
    touch("syn/Mesh_114/train/good/0.png syn/Mesh_114/test/good/0.png syn/Mesh_114/test/bad/0.png "
          "syn/Mesh_114/ground_truth/bad/0_mask.png");
    check("syn", "dtd_synthetic", "dtd_synthetic",
          "Mesh_114 r 0 good Mesh_114/train/good/0.png\n"
          "Mesh_114 t 1 bad Mesh_114/test/bad/0.png<Mesh_114/ground_truth/bad/0_mask.png\n"
          "Mesh_114 t 0 good Mesh_114/test/good/0.png\n");
    touch("via/metal/gear/train/good/0.png via/metal/gear/test/dent/0.png via/metal/gear/ground_truth/dent/0.png "
          "via/wood/disc/train/good/0.png");
    check_both("via", "viaduct",
               "metal/gear r 0 good metal/gear/train/good/0.png\n"
               "metal/gear t 1 dent metal/gear/test/dent/0.png<metal/gear/ground_truth/dent/0.png\n"
               "wood/disc r 0 good wood/disc/train/good/0.png\n");
}

static void visa(void **state)
{
    (void)state;
    static const char table[] = "object,split,label,image,mask\r\n"
                                "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\r\n"
                                "candle,test,normal,candle/Data/Images/Normal/0001.JPG,\r\n"
                                "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/"
                                "000.png\r\n";
    touch(
        "v/candle/Data/Images/Normal/0000.JPG v/candle/Data/Images/Normal/0001.JPG "
        "v/candle/Data/Images/Anomaly/000.JPG v/candle/Data/Masks/Anomaly/000.png v/candle/Data/Masks/Anomaly/001.png");
    check_both("v", "visa",
               "candle t 1 anomaly candle/Data/Images/Anomaly/000.JPG<candle/Data/Masks/Anomaly/000.png\n"
               "candle t 0 good candle/Data/Images/Normal/0000.JPG\n"
               "candle t 0 good candle/Data/Images/Normal/0001.JPG\n");
    check_strays("v", "candle/Data/Masks/Anomaly/001.png ");
    check_rule("v", NULL, CZ_MASK_NONZERO);
    write_bytes("v/split_csv/1cls.csv", table, sizeof table - 1);
    check_both("v", "visa",
               "candle r 0 good candle/Data/Images/Normal/0000.JPG\n"
               "candle t 1 anomaly candle/Data/Images/Anomaly/000.JPG<candle/Data/Masks/Anomaly/000.png\n"
               "candle t 0 good candle/Data/Images/Normal/0001.JPG\n");
    static const char evil[] = "object,split,label,image,mask\nx,test,normal,x/../../y.png,\n";
    write_bytes("v/split_csv/1cls.csv", evil, sizeof evil - 1);
    refused("v", NULL, CZ_E_FORMAT, "1cls.csv:2: \"x/../../y.png\" leaves its folder");
    static const char short_table[] = "object,split,label,image\nx,test,normal,y.png\n";
    write_bytes("v/split_csv/1cls.csv", short_table, sizeof short_table - 1);
    refused("v", NULL, CZ_E_FORMAT, "no column \"mask\"");
    touch("v1/pcb1/train/good/0.JPG v1/pcb1/test/good/1.JPG v1/pcb1/test/bad/000.JPG v1/pcb1/ground_truth/bad/000.png");
    check_both("v1", "visa",
               "pcb1 r 0 good pcb1/train/good/0.JPG\n"
               "pcb1 t 1 bad pcb1/test/bad/000.JPG<pcb1/ground_truth/bad/000.png\n"
               "pcb1 t 0 good pcb1/test/good/1.JPG\n");
    check_rule("v1/pcb1", NULL, CZ_MASK_NONZERO);
}

static void pairs(void **state)
{
    (void)state;
    touch("k1/kos01/Part0.jpg k1/kos01/Part0_label.bmp k1/kos01/Part1.jpg k1/kos02/Part0.jpg k1/kos02/Part5_label.bmp");
    check_both("k1", "kolektor",
               "~ t -1 ~ kos01/Part0.jpg<kos01/Part0_label.bmp\n"
               "~ t -1 ~ kos01/Part1.jpg\n"
               "~ t -1 ~ kos02/Part0.jpg\n");
    check_strays("k1", "kos02/Part5_label.bmp ");
    touch("k2/train/10000.png k2/train/10000_GT.png k2/test/20000.png k2/test/20000_GT.png k2/test/20001.png");
    check_both("k2", "kolektor2",
               "~ r -1 ~ train/10000.png<train/10000_GT.png\n"
               "~ t -1 ~ test/20000.png<test/20000_GT.png\n"
               "~ t -1 ~ test/20001.png\n");
    touch("dagm/Class1/Train/0576.PNG dagm/Class1/Train/0577.PNG dagm/Class1/Train/Label/0576_label.PNG "
          "dagm/Class1/Test/0001.PNG dagm/Class10/Test/0002.PNG dagm/Class10/Test/Label/0002_label.PNG "
          "dagm/Class10/Test/Label/0003_label.PNG");
    write_bytes("dagm/Class1/Train/Label/Labels.txt", "1\n", 2);
    check_both("dagm", "dagm",
               "Class1 r 1 defect Class1/Train/0576.PNG<Class1/Train/Label/0576_label.PNG\n"
               "Class1 r 0 good Class1/Train/0577.PNG\n"
               "Class1 t 0 good Class1/Test/0001.PNG\n"
               "Class10 t 1 defect Class10/Test/0002.PNG<Class10/Test/Label/0002_label.PNG\n");
    check_strays("dagm", "Class10/Test/Label/0003_label.PNG ");
    check("dagm/Class10", NULL, "dagm", "Class10 t 1 defect Test/0002.PNG<Test/Label/0002_label.PNG\n");
    touch("mt/MT_Free/Imgs/a.jpg mt/MT_Free/Imgs/a.png mt/MT_Crack/Imgs/b.jpg mt/MT_Crack/Imgs/b.png "
          "mt/MT_Crack/Imgs/c.png");
    check_both("mt", "magnetic_tile",
               "~ t 1 Crack MT_Crack/Imgs/b.jpg<MT_Crack/Imgs/b.png\n"
               "~ t 0 good MT_Free/Imgs/a.jpg<MT_Free/Imgs/a.png\n");
    check_strays("mt", "MT_Crack/Imgs/c.png ");
    static const char split[] = "path,split,label,mask\nMT_Free/Imgs/a.jpg,train,0,\nMT_Crack/Imgs/b.jpg,test,1,"
                                "MT_Crack/Imgs/b.png\n";
    write_bytes("mt/split.csv", split, sizeof split - 1);
    check("mt", NULL, "csv", "~ r 0 good MT_Free/Imgs/a.jpg\n~ t 1 ~ MT_Crack/Imgs/b.jpg<MT_Crack/Imgs/b.png\n");
    check("mt", "magnetic_tile", "magnetic_tile",
          "~ r 0 good MT_Free/Imgs/a.jpg\n~ t 1 Crack MT_Crack/Imgs/b.jpg<MT_Crack/Imgs/b.png\n");
    touch("r/Type-I_RSDDs/rail_1.jpg r/Type-I_RSDDs/GroundTruth/rail_1.jpg r/Type-II_RSDDs/Original/rail_2.jpg "
          "r/Type-II_RSDDs/GroundTruth/rail_2.bmp r/Type-II_RSDDs/GroundTruth/rail_3.bmp");
    check_both("r", "rsdd",
               "Type-II_RSDDs t 1 defect Type-II_RSDDs/Original/rail_2.jpg<Type-II_RSDDs/GroundTruth/rail_2.bmp\n"
               "Type-I_RSDDs t 1 defect Type-I_RSDDs/rail_1.jpg<Type-I_RSDDs/GroundTruth/rail_1.jpg\n");
}

static void medical(void **state)
{
    (void)state;
    static const char labels[] = "id, hemorrhage\n0, 0\n1,1\n123,1 \n";
    touch("h/head_ct/000.png h/head_ct/001.png");
    write_bytes("h/labels.csv", labels, sizeof labels - 1);
    check_both("h", "headct",
               "~ t 0 good head_ct/000.png\n~ t 1 hemorrhage head_ct/001.png\n~ t 1 hemorrhage head_ct/123.png\n");
    static const char other[] = "name,kind\n\"x\n";
    write_bytes("h/labels.csv", other, sizeof other - 1);
    refused("h", NULL, CZ_E_NO_IMAGES, "no known layout");
    refused("h", "headct", CZ_E_FORMAT, "not closed");
    static const char bad[] = "id,hemorrhage\n../7,1\n";
    write_bytes("h/labels.csv", bad, sizeof bad - 1);
    refused("h", NULL, CZ_E_FORMAT, "labels.csv:2: the id is no number");
    touch("b/yes/Y1.jpg b/no/1.PNG b/no/more/2.jpeg");
    check("b", NULL, "yesno", "~ t 0 good no/1.PNG\n~ t 0 good no/more/2.jpeg\n~ t 1 yes yes/Y1.jpg\n");
    check("b", "brainmri", "brainmri", "~ t 0 good no/1.PNG\n~ t 0 good no/more/2.jpeg\n~ t 1 yes yes/Y1.jpg\n");
    touch("b/pred/pred0.jpg");
    check_both("b", "br35h",
               "~ t 0 good no/1.PNG\n~ t 0 good no/more/2.jpeg\n~ t -1 ~ pred/pred0.jpg\n~ t 1 yes yes/Y1.jpg\n");
    check("b", "folder", "folder",
          "~ a -1 ~ no/1.PNG\n~ a -1 ~ no/more/2.jpeg\n~ a -1 ~ pred/pred0.jpg\n~ a -1 ~ yes/Y1.jpg\n");
}

static void folders(void **state)
{
    (void)state;
    char got[2048], normal[512], abnormal[512], masks[512];
    cz_dataset *d = NULL;
    touch("n/1.png n/x/2.png ab/1.png ab/dent/3.jpg ab/dent/4.jpg ms/1_mask.png ms/dent/3.png ms/4.bmp ms/9.png");
    (void)snprintf(normal, sizeof normal, "%s", below("n"));
    (void)snprintf(abnormal, sizeof abnormal, "%s", below("ab"));
    (void)snprintf(masks, sizeof masks, "%s", below("ms"));
    assert_int_equal(cz_dataset_open_folders(normal, abnormal, masks, &d), CZ_OK);
    describe(d, masks, got, sizeof got);
    assert_string_equal(got,
                        "~ t 1 ~ abnormal/1.png<1_mask.png\n~ t 1 dent abnormal/dent/3.jpg<dent/3.png\n"
                        "~ t 1 dent abnormal/dent/4.jpg<4.bmp\n~ t 0 good normal/1.png\n~ t 0 good normal/x/2.png\n");
    assert_string_equal(cz_dataset_at(d, 0)->path + strlen(abnormal), "/1.png");
    assert_string_equal(cz_dataset_at(d, 4)->path + strlen(normal), "/x/2.png");
    cz_dataset_close(d);
    assert_int_equal(cz_dataset_open_folders(normal, NULL, NULL, &d), CZ_OK);
    assert_int_equal(cz_dataset_count(d), 2);
    assert_string_equal(cz_dataset_layout(d), "folder");
    cz_dataset_close(d);
    assert_int_equal(cz_dataset_open_folders(normal, below("none"), NULL, &d), CZ_E_IO);
    assert_int_equal(cz_dataset_open_folders(NULL, NULL, NULL, &d), CZ_E_ARG);
}

static void links(void **state)
{
    (void)state;
    touch("real/train/good/0.png real/test/bad/1.png out/2.png");
    char path[512], target[512];
    (void)snprintf(target, sizeof target, "%s/out/2.png", base);
    (void)snprintf(path, sizeof path, "%s/real/train/good/2.png", base);
    assert_int_equal(symlink(target, path), 0);
    (void)snprintf(target, sizeof target, "%s/out", base);
    (void)snprintf(path, sizeof path, "%s/real/train/good/more", base);
    assert_int_equal(symlink(target, path), 0);
    (void)snprintf(path, sizeof path, "%s/real/train/good/gone.png", base);
    assert_int_equal(symlink("nowhere", path), 0);
    (void)snprintf(path, sizeof path, "%s/real/train/good/pipe.png", base);
    assert_int_equal(mkfifo(path, 0600), 0);
    check("real", NULL, "mvtec",
          "real r 0 good train/good/0.png\nreal r 0 good train/good/2.png\nreal r 0 good train/good/gone.png\n"
          "real t 1 bad test/bad/1.png\n");
    /* a loop ends */
    (void)snprintf(path, sizeof path, "%s/out/loop", base);
    assert_int_equal(symlink(".", path), 0);
    check("out", "folder", "folder", "~ a -1 ~ 2.png\n");
}

static void out_of_memory(void **state)
{
    (void)state;
    static const char *const roots[] = {"btad", "loco", "v1", "k1", "dagm", "r", "mt", "j2", "b"};
    touch("btad/01/train/ok/0.bmp btad/01/test/ko/2.bmp btad/01/ground_truth/ko/2.png btad/01/ground_truth/ko/3.png "
          "loco/box/test/logical_anomalies/0.png loco/box/ground_truth/logical_anomalies/0/0.png "
          "v1/pcb1/train/good/0.JPG v1/pcb1/Data/Images/Normal/0.JPG k1/kos01/Part0.jpg k1/kos01/Part0_label.bmp "
          "dagm/Class1/Test/1.PNG dagm/Class1/Test/Label/1_label.PNG r/Type-I/o/1.jpg r/Type-I/GroundTruth/1.jpg "
          "mt/MT_Free/Imgs/a.jpg b/yes/1.png b/no/1.png b/pred/1.png");
    static const char json[] = "{\"path\": \"b\", \"mask\": [\"0\", \"1\"]}\n{\"path\": \"c\"}\n";
    write_bytes("j2/manifest.jsonl", json, sizeof json - 1);
    for (size_t r = 0; r < sizeof roots / sizeof *roots; r++) {
        cz_status status = CZ_E_MEMORY;
        for (unsigned long n = 1; status != CZ_OK; n++) {
            cz_dataset *d = NULL;
            assert_true(n < 5000);
            cz_alloc_fail_after(n);
            status = cz_dataset_open(below(roots[r]), NULL, &d);
            cz_alloc_fail_after(0);
            if (status != CZ_OK) assert_int_equal(status, CZ_E_MEMORY);
            if (status == CZ_OK) assert_true(cz_dataset_count(d) > 0);
            cz_dataset_close(d);
        }
    }
}

static void layout_names(void **state)
{
    (void)state;
    size_t count = 0;
    while (cz_dataset_layout_name(count) != NULL) count++;
    assert_int_equal(count, 18);
    cz_dataset_close(NULL);
    assert_int_equal(cz_dataset_count(NULL), 0);
    assert_int_equal(cz_dataset_open(NULL, NULL, NULL), CZ_E_ARG);
}

/* ---- the real ones ------------------------------------------------------------------------------------------- */

/* counts: train normal, test normal, test anomalous, masks of these, stray masks */
static void real_set(const char *outside, const char *name, const char *layout, const size_t counts[5])
{
    char path[1024];
    cz_dataset *d = NULL;
    size_t got[5] = {0};
    struct stat info;
    (void)snprintf(path, sizeof path, "%s/data/%s", outside, name);
    if (stat(path, &info) != 0) {
        printf("skipped: %s (not there)\n", name);
        return;
    }
    if (cz_dataset_open(path, layout, &d) != CZ_OK) fail_msg("%s", cz_last_error());
    for (size_t i = 0; i < cz_dataset_count(d); i++) {
        const cz_sample *s = cz_dataset_at(d, i);
        got[0] += s->split == CZ_SPLIT_TRAIN && s->label == 0;
        got[1] += s->split == CZ_SPLIT_TEST && s->label == 0;
        got[2] += s->split == CZ_SPLIT_TEST && s->label == 1;
        got[3] += s->label == 1 && s->mask_count > 0;
    }
    got[4] = cz_dataset_stray_masks(d);
    assert_int_equal(got[0] + got[1] + got[2], cz_dataset_count(d));
    for (size_t i = 0; i < 5; i++) {
        if (got[i] != counts[i]) fail_msg("%s: count %zu is %zu, not %zu", name, i, got[i], counts[i]);
    }
    cz_dataset_close(d);
}

static void outside_data(void **state)
{
    (void)state;
    const char *outside = getenv("COZAD_TEST_DATA");
    struct stat info;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/data", outside != NULL ? outside : "");
    if (outside == NULL || stat(path, &info) != 0) {
        printf("skipped: outside_data (no outside data)\n");
        skip();
    }
    real_set(outside, "mvtec/screw", NULL, (const size_t[]){320, 41, 119, 119, 0});
    real_set(outside, "mvtec/metal_nut", NULL, (const size_t[]){220, 0, 48, 0, 0});
    real_set(outside, "mvtec/leather", NULL, (const size_t[]){4, 4, 20, 11, 7});
    real_set(outside, "mvtec/tire", NULL, (const size_t[]){210, 25, 87, 87, 0});
    real_set(outside, "mvtec", NULL, (const size_t[]){754, 70, 274, 217, 7});
    real_set(outside, "magnetic_tile", NULL, (const size_t[]){476, 476, 392, 392, 0});
    real_set(outside, "brainmri", NULL, (const size_t[]){0, 98, 155, 0, 0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mvtec_ad, begin, end),
        cmocka_unit_test_setup_teardown(mvtec_others, begin, end),
        cmocka_unit_test_setup_teardown(visa, begin, end),
        cmocka_unit_test_setup_teardown(pairs, begin, end),
        cmocka_unit_test_setup_teardown(medical, begin, end),
        cmocka_unit_test_setup_teardown(folders, begin, end),
        cmocka_unit_test_setup_teardown(links, begin, end),
        cmocka_unit_test_setup_teardown(out_of_memory, begin, end),
        cmocka_unit_test(layout_names),
        cmocka_unit_test(outside_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
