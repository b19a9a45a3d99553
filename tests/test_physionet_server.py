"""Downloads from PhysioNet, from a local server with the layout of PhysioNet."""

import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import wfdb

from san.cli.parts import instantiate

pytestmark = pytest.mark.usefixtures("server")


class Handler(SimpleHTTPRequestHandler):
    """Serve files; drop the connection in the middle of the first ``server.drops`` signal files."""

    def do_GET(self):
        self.server.asked.append(self.path)
        time.sleep(self.server.silence)
        if self.path.endswith(".dat") and self.server.drops > 0:
            self.server.drops -= 1
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"\0" * 1000)
            self.close_connection = True
            return
        super().do_GET()

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a database of two records with two channels each, the first channel with an invalid sample."""
    files = tmp_path / "served" / "files" / "mydb" / "1.2.0"
    files.mkdir(parents=True)
    page = tmp_path / "served" / "content" / "mydb"
    page.mkdir(parents=True)
    (page / "index.html").write_text("<p>\nVersion: 1.2.0</p>\n", encoding="utf-8")
    (files / "RECORDS").write_text("b2\na1\n", encoding="utf-8")
    samples = np.random.default_rng(0).standard_normal((15000, 2))
    samples[12500, 0] = np.nan
    for record in ("a1", "b2"):
        wfdb.wrsamp(
            record,
            fs=250,
            units=["mV", "mV"],
            sig_name=["I", "II"],
            p_signal=samples,
            fmt=["212"] * 2,
            write_dir=str(files),
        )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "served"))
    server.asked, server.drops, server.silence, server.files = [], 0, 0, files
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("wfdb.io.download.PN_CONTENT_URL", f"{address}/content/")
    monkeypatch.setattr("wfdb.io.download.config.db_index_url", f"{address}/files/")
    monkeypatch.setattr("san.data.wfdb_files.WAITS", (0.0, 0.0))
    monkeypatch.setattr("san.data.wfdb_files._was_reached", True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def load(compose, tmp_path):
    def load(*overrides):
        return instantiate(
            compose("dataset.database=mydb", f"paths.data_dir={tmp_path / 'data'}", *overrides), "dataset"
        )

    return load


def kept(tmp_path):
    folder = tmp_path / "data" / "physionet" / "mydb"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_record_is_fetched_once_and_is_the_served_one(server, load, tmp_path):
    first = load()
    assert first.name == "physionet/mydb/b2"
    samples = wfdb.rdrecord(str(server.files / "b2"), channels=[0], sampto=1000).p_signal[:, 0]
    expected = (samples - samples.mean()) / samples.std(ddof=1)
    assert np.allclose(first.train[0, 0], expected, atol=1e-6)
    assert kept(tmp_path) == ["b2-channel_0-12000.dat", "b2-channel_0-12000.hea"]
    server.asked.clear()
    again = load("dataset.record=b2")
    assert server.asked == []
    assert torch.equal(again.test, first.test)


def test_channels_are_kept_apart(load):
    by_name, by_index, other = (load(f"dataset.channel={channel}") for channel in ("II", 1, 0))
    assert torch.equal(by_name.train, by_index.train)
    assert not torch.equal(by_name.train, other.train)


def test_several_channels_are_kept_together(load, tmp_path):
    chosen, every = load("dataset.channel=[II,0]"), load("dataset.channel=all")
    assert (chosen.channels, every.channels) == (("II", "I"), ("I", "II"))
    for splits in (chosen, every, load("dataset.channel=[II,0]")):
        for position, name in enumerate(splits.channels):
            assert torch.equal(splits.train[:, position], load(f"dataset.channel={name}").train[:, 0])
    assert {"b2-channels-named_II-channel_0-12000.dat", "b2-named_all-12000.dat"} <= {*kept(tmp_path)}


def test_channels_of_like_names_are_kept_apart(server, load):
    samples = np.random.default_rng(0).standard_normal((12000, 2))
    wfdb.wrsamp(
        "eeg",
        fs=100,
        units=["uV", "uV"],
        sig_name=["C3-A2", "C3+A2"],
        p_signal=samples,
        fmt=["16"] * 2,
        write_dir=str(server.files),
    )
    first, second = (load("dataset.record=eeg", f"dataset.channel='{name}'") for name in ("C3-A2", "C3+A2"))
    assert not torch.equal(first.train, second.train)


def test_an_empty_list_of_records_is_reported(load, tmp_path):
    (tmp_path / "data" / "physionet" / "mydb").mkdir(parents=True)
    (tmp_path / "data" / "physionet" / "mydb" / "RECORDS").touch()
    with pytest.raises(FileNotFoundError, match="no list of records"):
        load()


def test_invalid_samples_stay_invalid(load):
    with pytest.raises(ValueError, match="1 invalid samples, the first at 12500"):
        load("dataset.split=[6,2,5]")


def test_a_dropped_connection_is_tried_again(server, load, tmp_path):
    server.drops = 2
    assert load().name == "physionet/mydb/b2"
    server.drops = 3
    with pytest.raises(FileNotFoundError, match="PhysioNet cannot be reached"):
        load("dataset.record=a1")
    assert kept(tmp_path) == ["b2-channel_0-12000.dat", "b2-channel_0-12000.hea"]


def test_a_server_that_was_not_reached_is_tried_once_until_it_answers(server, load, caplog):
    server.drops = 4
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="PhysioNet cannot be reached"):
            load("dataset.record=a1")
    assert (server.drops, caplog.text.count("trying again")) == (0, 2)
    load()
    server.drops = 2
    load("dataset.channel=1")


def test_a_silent_server_is_given_up(server, load, monkeypatch):
    monkeypatch.setattr("san.data.wfdb_files.RESPONSE_TIMEOUT", 0.05)
    server.silence = 0.3
    with pytest.raises(FileNotFoundError, match="PhysioNet cannot be reached"):
        load("dataset.record=a1")


def test_a_truncated_file_is_refused_and_not_kept(server, load, tmp_path):
    data = server.files / "b2.dat"
    data.write_bytes(data.read_bytes()[:9000])
    with pytest.raises(ValueError, match="physionet/mydb/b2 cannot be read, its files are damaged or incomplete"):
        load()
    assert kept(tmp_path) == []


def test_absent_records_and_channels_are_reported(load):
    with pytest.raises(FileNotFoundError, match=r"no record c3 of the database mydb.*does not have it"):
        load("dataset.record=c3")
    with pytest.raises(FileNotFoundError, match=r"no list of records of the database other.*does not have it"):
        load("dataset.database=other")
    with pytest.raises(ValueError, match=r"^dataset.channel=V5 is not .*mydb/b2; choose one of 0 \(I\), 1 \(II\)"):
        load("dataset.channel=V5")
