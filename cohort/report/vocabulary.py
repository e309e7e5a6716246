"""Words that headers may say in the report: defined terms of the standard, and the names of known equipment.

Text in a header is typed by people, and now and then a name or a number of a patient stands where the
manufacturer or the body part belongs. So the report shows a value only where it is one of these words, or
where so many patients share it that it can name none of them. Spelling is kept as it was written; words are
compared without case, spaces and punctuation.

Sources: PS3.3 C.7.3.1.1.1 (Modality), C.7.6.3 (image pixel), C.11.1.1.2 (RescaleType), C.8.9.1 (Units),
PS3.16 annex L (body parts); manufacturers and models as they write themselves.
"""

from __future__ import annotations

import re

from cohort.report import names

OTHER = "other"
"""Label of a header value that is neither known nor shared by enough patients."""


def folded(text: str) -> str:
    """Return text without case, spaces and punctuation: how words are compared."""
    return "".join(c for c in text.casefold() if c.isascii() and c.isalnum())


def _words(text: str) -> frozenset[str]:
    return frozenset(folded(word) for word in text.split(";"))


_MODALITIES = """AR; ASMT; AU; BDUS; BI; BMD; CFM; CR; CT; CTPROTOCOL; DG; DMS; DOC; DX; ECG; EEG; EMG; EOG;
EPS; ES; FID; GM; HC; HD; IO; IOL; IVOCT; IVUS; KER; KO; LEN; LS; M3D; MG; MR; NM; OAM; OCT; OP; OPM; OPT; OPTBSV;
OPTENF; OPV; OSS; OT; PA; PLAN; POS; PR; PT; PX; REG; RESP; RF; RG; RTDOSE; RTIMAGE; RTINTENT; RTPLAN; RTRAD;
RTRECORD; RTSEGANN; RTSTRUCT; RWV; SEG; SM; SMR; SR; SRF; STAIN; TEXTUREMAP; TG; US; VA; XA; XAPROTOCOL; XC; ANN;
MS; DR"""

_BODY_PARTS = """ABDOMEN; ABDOMENPELVIS; ADRENAL; ANKLE; AORTA; ARM; AXILLA; BACK; BLADDER; BRAIN; BREAST;
BRONCHUS; BUTTOCK; CALCANEUS; CALF; CAROTID; CEREBELLUM; CERVIX; CHEEK; CHEST; CHESTABDOMEN; CHESTABDPELVIS;
CIRCLEOFWILLIS; CLAVICLE; COCCYX; COLON; CORNEA; CORONARYARTERY; CSPINE; CERVICALSPINE; CTSPINE; DUODENUM; EAR;
ELBOW; ESOPHAGUS; EXTREMITY; EYE; EYELID; FACE; FEMUR; FINGER; FOOT; FOREARM; GALLBLADDER; HAND; HEAD; HEADNECK;
HEART; HIP; HUMERUS; IAC; ILIUM; JAW; KIDNEY; KNEE; LARYNX; LEG; LIVER; LOWERLIMB; LOWER EXTREMITY; LSPINE; LSSPINE;
LUMBARSPINE; LUNG; MANDIBLE; MAXILLA; MEDIASTINUM; MOUTH; NECK; NECKCHEST; NECKCHESTABDOMEN; NECKCHESTABDPELV; NOSE;
ORBIT; OVARY; PANCREAS; PAROTID; PATELLA; PELVIS; PENIS; PHARYNX; PROSTATE; RECTUM; RIB; SACRUM; SCALP; SCAPULA;
SCLERA; SCROTUM; SELLA; SHOULDER; SINUS; SKULL; SPINE; SPLEEN; SSPINE; STERNUM; STOMACH; TESTIS; THIGH; THORAX;
THUMB; THYMUS; THYROID; TIBIA; TIBIAFIBULA; TLSPINE; TOE; TONGUE; TRACHEA; TSPINE; THORACICSPINE; UPPERLIMB;
UPPER EXTREMITY; URETER; URETHRA; UTERUS; VAGINA; VULVA; WHOLEBODY; WRIST; ZYGOMA; TMJ; SIJOINT"""

_MANUFACTURERS = """Acuson; Agfa; AGFA HealthCare; Agfa-Gevaert; Agfa-Gevaert AG; ALOKA; ALOKA CO., LTD.; Bruker;
Bruker BioSpin; Bruker BioSpin MRI GmbH; Canon; Canon Inc.; CANON_MEC; Canon Medical Systems;
Canon Medical Systems Corporation; Carestream; Carestream Health; CARL ZEISS MEDITEC; Carl Zeiss Meditec, Inc.; CPS;
CTI; Eastman Kodak Company; ELEKTA; Esaote; Esaote S.p.A.; FONAR; FUJI PHOTO FILM CO., LTD.;
FUJI PHOTO FILM CO. LTD.; FUJIFILM; FUJIFILM Corporation; FUJIFILM Healthcare Corporation; GE; G.E. Medical Systems;
GE Healthcare; GE HEALTHCARE IT; GE MEDICAL SYSTEMS; GE Vingmed Ultrasound; GE Vingmed; GE Medical Systems Kretz;
Heidelberg Engineering; Hitachi; Hitachi Medical Corporation; Hitachi, Ltd.; HOLOGIC; HOLOGIC, Inc.; Hyperfine;
Hyperfine Research; Hyperfine, Inc.; Imaging Dynamics Company Ltd.; IMS; INFINITT; KODAK; Konica Minolta;
KONICA MINOLTA; LODOX; Lorad; Lorad, A Hologic Company; Lumisys; Marconi Medical Systems; Mediso; Mindray;
Mortara Instrument, Inc.; Neusoft; Neusoft Medical Systems; NeuroLogica; Nuctech; Olympus; OFFIS; Philips;
Philips Healthcare; Philips Medical Systems; Philips Medical Systems, Inc.; Philips Medizin Systeme; Picker;
Picker International, Inc.; Planmed; Planmeca; PMOD Technologies; QIICR; Samsung; SAMSUNG MEDISON;
Samsung Electronics; Sectra; Sectra Imtec AB; Shimadzu; SHIMADZU CORPORATION; SIEMENS; Siemens Healthineers;
Siemens Healthcare; Siemens Healthcare GmbH; Siemens Medical Solutions; Siemens Medical Systems; Sirona; SonoSite;
SonoSite, Inc.; FUJIFILM SonoSite, Inc.; SuperSonic Imagine; Swissray; Topcon; TOSHIBA; TOSHIBA_MEC; TOSHIBA_MEC_US;
Toshiba Medical Systems; UIH; United Imaging Healthcare; Varian; Varian Medical Systems;
Varian Imaging Laboratories; Vatech; Vieworks; Ziehm; 3DISC; Accuray; Brainlab; RaySearch Laboratories; Aperio;
Leica Biosystems; Hamamatsu; 3DHISTECH; Phantom Works; Manufacturer; UNKNOWN; TEST"""

_MODELS = """SOMATOM Force; SOMATOM Definition; SOMATOM Definition AS; SOMATOM Definition AS+;
SOMATOM Definition Flash; SOMATOM Definition Edge; SOMATOM Drive; SOMATOM Edge Plus; SOMATOM go.Top; SOMATOM go.All;
SOMATOM go.Up; SOMATOM go.Now; SOMATOM X.cite; SOMATOM X.ceed; SOMATOM Perspective; SOMATOM Scope;
SOMATOM Confidence; NAEOTOM Alpha; Sensation 4; Sensation 10; Sensation 16; Sensation 40; Sensation 64;
Sensation Open; Emotion; Emotion 6; Emotion 16; Emotion Duo; Volume Zoom; SOMATOM PLUS 4; Avanto; Avanto_fit; Aera;
Allegra; Amira; Biograph_mMR; Espree; Essenza; Harmony; Magnetom Essenza; MAGNETOM Aera; MAGNETOM Altea;
MAGNETOM Avanto; MAGNETOM Lumina; MAGNETOM Prisma; MAGNETOM Prisma Fit; MAGNETOM Skyra; MAGNETOM Sola;
MAGNETOM Terra; MAGNETOM Terra.X; MAGNETOM Trio; MAGNETOM Verio; MAGNETOM Vida; MAGNETOM Vida Fit; MAGNETOM Vision;
MAGNETOM Free.Max; MAGNETOM Cima.X; Prisma; Prisma_fit; Skyra; Skyra_fit; Sola; Sonata; Symphony; SymphonyTim;
Spectra; Sempra; Terra; Trio; TrioTim; Verio; Vida; Biograph128; Biograph128_mCT; Biograph64; Biograph64_mCT;
Biograph40; Biograph40_mCT; Biograph20; Biograph20_mCT; Biograph 6; Biograph 16; Biograph mCT; Biograph Vision;
Biograph128_Vision 600 Edge; Symbia; Symbia T; Symbia T2; Symbia T6; Symbia T16; ACUSON S2000; ACUSON S3000;
ACUSON Sequoia; ACUSON SC2000; Sequoia; LightSpeed; LightSpeed Plus; LightSpeed Ultra; LightSpeed16;
LightSpeed Pro 16; LightSpeed Pro 32; LightSpeed QX/i; LightSpeed VCT; LightSpeed RT; LightSpeed RT16;
LightSpeed Xtra; BrightSpeed; BrightSpeed S; BrightSpeed QX/i; HiSpeed; HiSpeed CT/i; HiSpeed QX/i;
Discovery CT750 HD; Discovery CT590 RT; Discovery RT; Discovery ST; Discovery STE; Discovery RX; Discovery LS;
Discovery 600; Discovery 610; Discovery 690; Discovery 710; Discovery IQ; Discovery MI; Discovery NM/CT 670;
Optima CT520; Optima CT540; Optima CT580; Optima CT660; Revolution; Revolution CT; Revolution EVO; Revolution HD;
Revolution GSI; Revolution Frontier; Revolution Apex; Revolution Maxima; SIGNA; SIGNA Artist; SIGNA Architect;
SIGNA Creator; SIGNA EXCITE; SIGNA Explorer; SIGNA HDe; SIGNA HDx; SIGNA HDxt; SIGNA Hero; SIGNA Pioneer;
SIGNA Premier; SIGNA PET/MR; SIGNA Victor; SIGNA Voyager; GENESIS_SIGNA; DISCOVERY MR450; DISCOVERY MR750;
DISCOVERY MR750w; Optima MR360; Optima MR450w; MILLENNIUM MG; Infinia; Advance; Senographe DS; Senographe Essential;
Senographe Pristina; Senograph 2000D; LOGIQ 700; LOGIQ 9; LOGIQ E9; LOGIQ E10; LOGIQ S8; Vivid 7; Vivid E9;
Vivid E95; Vivid S70; Vivid q; Vivid i; Voluson E8; Voluson E10; Voluson S10; Definium 8000; Discovery XR656; Brivo;
RHAPSODE; Ingenia; Ingenia CX; Ingenia Ambition X; Ingenia Elition X; Achieva; Achieva dStream; Intera;
Intera Achieva; Gyroscan Intera; Gyroscan NT; Panorama; Eclipse 1.5T; Ingenuity; Ingenuity CT; Ingenuity Core;
Ingenuity TF PET/CT; GEMINI TF; GEMINI TF TOF 16; Gemini GXL; Allegro; Vereos PET/CT; Brilliance 6; Brilliance 10;
Brilliance 16; Brilliance 40; Brilliance 64; Brilliance Big Bore; Big Bore; iCT 128; iCT 256; IQon - Spectral CT;
Spectral CT; Incisive CT; Mx8000; Mx8000 IDT; Mx8000 IDT 16; MX 16-slice; iE33; iU22; CX50; EPIQ 5G; EPIQ 7;
EPIQ 7C; EPIQ 7G; EPIQ CVx; Affiniti 50; Affiniti 70; HD11 XE; HDI 5000; DigitalDiagnost; Essenta DR; MicroDose;
Allura Xper; Azurion; Aquilion; Aquilion ONE; Aquilion PRIME; Aquilion PRIME SP; Aquilion Precision;
Aquilion Lightning; Aquilion CX; Aquilion CXL; Asteion; Activion16; Alexion; Titan; Titan3T; Vantage; Vantage Titan;
Vantage Galan; Vantage Galan 3T; Vantage Orian; Vantage Elan; Aplio; Aplio 500; Aplio i800; Aplio i900; Xario;
MRT50H1; MRT200; Airis II; AIRIS Elite; APERTO; ECHELON; ECHELON Smart; Echelon Oval; OASIS; Scenaria;
SCENARIA View; ECLOS; Supria; uMR 570; uMR 580; uMR 588; uMR 680; uMR 770; uMR 780; uMR 790; uMR 890; uMR Omega;
uMR Jupiter; uPMR 790; uCT 510; uCT 530; uCT 550; uCT 710; uCT 760; uCT 780; uCT 960+; uMI 510; uMI 550; uMI 780;
uEXPLORER; Swoop; SWOOP; Selenia; Selenia Dimensions; Lorad Selenia; 3Dimensions; CR-IR 392; CR-IR 348; CR-IR 357;
ADC_5146; ADC_5155; ADC_5156; ADC_51xx; CR 30-X; CR 85; DRX-1; DRX-Evolution; DRX-Revolution; DR 7500; Regius;
MAMMOMAT Inspiration; MAMMOMAT Novation; MAMMOMAT Revelation; AXIOM; AXIOM Artis; AXIOM-Artis; Artis zee;
ARTIS pheno; FLUOROSPOT COMPACT FD; FluoroSpot_Compact; Multix Fusion; Ysio; Ysio Max; BioSpec; PharmaScan;
SSD-4000; ALPHA7; Turbo; M-Turbo; Edge; MyLab; NeuViz 16; NeuViz 64; NeuViz 128; CereTom; BodyTom; Screen Grabber;
SPECTRALIS; Cirrus HD-OCT 5000; Elekta iView Electronic Portal Imaging; Cassette Holder; iX; TrueBeam; el250; T5;
IRS; Aperio AT2; Aperio GT450; NanoZoomer; Unknown"""

_KERNELS = """STANDARD; STND; BONE; BONEPLUS; LUNG; SOFT; DETAIL; EDGE; CHEST; ULTRA; HD STND; HD BONE;
HD LUNG; SMOOTH; SHARP; A; B; C; D; E; F; L; UA; UB; UC; YA; YB; YC; YD; CA; CB; CC; CD; IMR; IMR1; IMR2; BODY;
BRAIN; AIDR 3D; XYZ Gauss2.00; XYZ Gauss4.00; XYZ Gauss5.00; XYZGAUSS3.00; ALL PASS; All-pass; GAUSSIAN; HANN;
HAMMING; BUTTERWORTH; RAMP"""

KNOWN: dict[str, frozenset[str]] = {
    "Modality": _words(_MODALITIES),
    "BodyPartExamined": _words(_BODY_PARTS),
    "Manufacturer": _words(_MANUFACTURERS),
    "ManufacturerModelName": _words(_MODELS),
    "ConvolutionKernel": _words(_KERNELS),
    "PatientSex": _words("M; F; O"),
    "Laterality": _words("L; R"),
    "PatientIdentityRemoved": _words("YES; NO"),
    "BurnedInAnnotation": _words("YES; NO"),
    "LossyImageCompression": _words("00; 01"),
    "PhotometricInterpretation": _words(
        "MONOCHROME1; MONOCHROME2; PALETTE COLOR; RGB; HSV; ARGB; CMYK; YBR_FULL; YBR_FULL_422; YBR_PARTIAL_422; "
        "YBR_PARTIAL_420; YBR_ICT; YBR_RCT; XYB"
    ),
    "PatientPosition": _words("HFP; HFS; HFDR; HFDL; FFDR; FFDL; FFP; FFS; LFP; LFS; RFP; RFS; AFDR; AFDL; PFDR; PFDL"),
    "Units": _words(
        "CNTS; NONE; CM2; CM2ML; PCNT; CPS; BQML; MGMINML; UMOLMINML; MLMING; MLG; 1CM; UMOLML; PROPCNTS; PROPCPS; "
        "MLMINML; MLML; GML; STDDEV"
    ),
    "RescaleType": _words("OD; HU; US; MGML; Z_EFF; ED; EDW; HU_MOD; PCT; NORMALIZED; UNSPECIFIED; OD REL"),
    "DoseUnits": _words("GY; RELATIVE"),
    "TransferSyntaxUID": frozenset(folded(uid) for uid in names.TRANSFER_SYNTAXES),
    "SOPClassUID": frozenset(folded(uid) for uid in names.SOP_CLASSES),
}  # fmt: skip
KNOWN["value_unit"] = (
    KNOWN["Units"] | KNOWN["RescaleType"] | KNOWN["DoseUnits"] | _words("arbitrary; unknown; label; SUV")
)

# Families of kernels that are numbered: Siemens (B30f, Br40d, Hc44), Canon and Toshiba (FC03).
_NUMBERED_KERNEL = re.compile(r"(?:[BHUDTIJQ][a-z]?\d\d[a-z]?|FC\d\d)")

# What parts of a data set are called: for training, tuning and testing; nnU-Net's folders; folds by number.
_PARTITION = re.compile(
    r"(?:images|labels)?(?:train|training|tr|val|valid|validation|dev|development|tune|tuning|test|testing|te|ts|"
    r"holdout|internal|external|calibration|fold|split|part|partition|set|cv)?(?:set|data|cases|cohort)?\d{0,2}"
)
_ORDER = (("tr",), ("val", "dev", "tun"), ("te", "ts"))

RANGES: dict[str, tuple[float, float]] = {
    "MagneticFieldStrength": (0.0, 25.0),
    "KVP": (0.0, 1000.0),
}
"""Plausible values of measured attributes; numbers outside could be something else, such as a date."""


def is_known(attribute: str, value: str) -> bool:
    """Tell whether a value of an attribute is one of the known words.

    Parameters
    ----------
    attribute : str
        DICOM keyword, or `value_unit`.
    value : str
        As written in the header; of several values, one.
    """
    if attribute == "ConvolutionKernel" and _NUMBERED_KERNEL.fullmatch(value.strip()):
        return True
    # Words are ASCII: a value that folds away other letters is not the word that is left.
    return value.isascii() and folded(value) in KNOWN.get(attribute, frozenset())


def is_plausible(attribute: str, value: float) -> bool:
    """Tell whether a number lies where values of the attribute do."""
    low, high = RANGES.get(attribute, (float("-inf"), float("inf")))
    return low <= value <= high


def is_partition(name: str) -> bool:
    """Tell whether a name of a partition is a usual one, which can name no patient."""
    return name.isascii() and folded(name) != "" and _PARTITION.fullmatch(folded(name)) is not None


def partition_order(name: str) -> tuple[int, str]:
    """Return where a partition stands: training, validation, test, and then all others by name."""
    word = folded(name).removeprefix("images").removeprefix("labels")
    ranks = [rank for rank, starts in enumerate(_ORDER) if word.startswith(starts)]
    return (ranks[0] if ranks and is_partition(name) else len(_ORDER)), name
