BEGIN TRANSACTION;
CREATE TABLE epigraph_atlas (
	version INTEGER NOT NULL
);
INSERT INTO "epigraph_atlas" VALUES(1);
CREATE TABLE objectives (
	id INTEGER NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	record JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (fingerprint)
);
INSERT INTO "objectives" VALUES(1,'a8de06d23f00011bec8b48a74fedc2387ffaebb8273178c31bc05e63b6b76c91','{"describe": {"name": "<lambda>", "mode": null, "parameters": {"w": {"shape": [2]}}, "size": 2, "loss": null, "samples": null, "weight_decay": {"w": 0.1}, "domain": {}}, "shapes": [["w", [2]]], "size": 2, "not_coercive": "", "notes": []}');
CREATE TABLE points (
	id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	evidence VARCHAR(16) NOT NULL, 
	value FLOAT NOT NULL, 
	"index" INTEGER NOT NULL, 
	nullity INTEGER NOT NULL, 
	predicted INTEGER NOT NULL, 
	margin FLOAT NOT NULL, 
	spectrum BLOB NOT NULL, 
	gradient_norm FLOAT NOT NULL, 
	decrement FLOAT NOT NULL, 
	orbit TEXT NOT NULL, 
	exact_orbit BOOLEAN NOT NULL, 
	family INTEGER NOT NULL, 
	doubtful JSON NOT NULL, 
	reason TEXT NOT NULL, 
	certificate JSON, 
	x BLOB NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(objective) REFERENCES objectives (id)
);
INSERT INTO "points" VALUES(1,1,'minimum','tested',0.095,0,0,0,7.99360577730112709105e-15,X'989999999999C93FCDCCCCCCCCCCFC3F',2.77555756156289135105e-17,8.55968864172104690595e-34,'2',1,1,'[]','','null',X'966D6C139D5BEEBF976D6C139D5BEEBF');
INSERT INTO "points" VALUES(2,1,'saddle','tested',0.5,1,0,0,4.88498130835068877786e-15,X'CDCCCCCCCCCCECBF9A9999999999F13F',0.0,0.0,'1',1,1,'[]','','null',X'00000000000000000000000000000000');
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	saddles BOOLEAN NOT NULL, 
	done INTEGER NOT NULL, 
	ends JSON NOT NULL, 
	lowest FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (objective, seed, saddles), 
	FOREIGN KEY(objective) REFERENCES objectives (id)
);
INSERT INTO "runs" VALUES(1,1,0,1,30,'{"critical": 62}',NULL);
CREATE TABLE sightings (
	point INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	source VARCHAR(16) NOT NULL, 
	times INTEGER NOT NULL, 
	PRIMARY KEY (point, run, source), 
	FOREIGN KEY(point) REFERENCES points (id), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "sightings" VALUES(1,1,'random',21);
INSERT INTO "sightings" VALUES(1,1,'wide',8);
INSERT INTO "sightings" VALUES(1,1,'saddle',2);
INSERT INTO "sightings" VALUES(2,1,'origin',2);
INSERT INTO "sightings" VALUES(2,1,'smaller',14);
INSERT INTO "sightings" VALUES(2,1,'random',9);
INSERT INTO "sightings" VALUES(2,1,'wide',6);
CREATE INDEX ix_points_objective ON points (objective);
COMMIT;